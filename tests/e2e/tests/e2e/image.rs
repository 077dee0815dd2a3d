//! `make image`: what a registry and Istio's agent expect. That the agent's own
//! code takes it, `make test-istio` shows.

use flate2::read::GzDecoder;
use harness::workspace_root;
use serde_json::Value;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// The digest that it prints, and the image in this folder of the workspace.
fn make(folder: &str) -> String {
    let output = Command::new(workspace_root().join("filter/proxy-wasm/image.py"))
        .args(["dist/sidespan.wasm", folder])
        .output()
        .expect("python3");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let line = String::from_utf8(output.stdout).expect("text");
    let digest = line.split_whitespace().last().expect("a digest").to_owned();
    assert!(
        line.starts_with(folder) && digest.starts_with("sha256:"),
        "{line}"
    );
    digest
}

/// What a descriptor describes, if its size and its digest are right.
fn blob(image: &Path, descriptor: &Value) -> Vec<u8> {
    let digest = descriptor["digest"].as_str().expect("a digest");
    let path = image.join("blobs").join(digest.replace(':', "/"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(descriptor["size"], bytes.len());
    let sum = Command::new("sha256sum")
        .arg(&path)
        .output()
        .expect("sha256sum");
    let sum = String::from_utf8_lossy(&sum.stdout);
    assert_eq!(sum.split(' ').next(), digest.strip_prefix("sha256:"));
    bytes
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("JSON")
}

#[test]
fn the_image_has_the_module_where_it_is_looked_for() {
    let folder = "build/image-test";
    let digest = make(folder);
    assert_eq!(make(folder), digest, "the same module has the same digest");

    let image = workspace_root().join(folder);
    let read = |name: &str| json(&std::fs::read(image.join(name)).expect(name));
    assert_eq!(read("oci-layout")["imageLayoutVersion"], "1.0.0");
    let index = read("index.json");
    let described = &index["manifests"][0];
    assert_eq!(described["digest"], digest);
    let manifest = json(&blob(&image, described));
    assert_eq!(
        manifest["mediaType"],
        "application/vnd.oci.image.manifest.v1+json"
    );
    json(&blob(&image, &manifest["config"]));
    let layers = manifest["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), 1);
    assert_eq!(
        layers[0]["mediaType"],
        "application/vnd.oci.image.layer.v1.tar+gzip"
    );

    let mut tar = Vec::new();
    let compressed = blob(&image, &layers[0]);
    GzDecoder::new(&compressed[..])
        .read_to_end(&mut tar)
        .expect("gzip");
    // A header of 512 bytes: the name, and the size in octal.
    assert!(tar.starts_with(b"plugin.wasm\0"));
    let size = std::str::from_utf8(&tar[124..135]).expect("octal");
    let size = usize::from_str_radix(size, 8).expect("octal");
    let module = std::fs::read(workspace_root().join("dist/sidespan.wasm")).expect("a module");
    assert!(tar[512..512 + size] == module[..]);
    std::fs::remove_dir_all(&image).expect("removed");
}
