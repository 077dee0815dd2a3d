//! Has the test program export its symbols: the module looks up by name what
//! only later versions of Envoy have. The module itself is linked as before.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-tests=-rdynamic");
}
