"""Plants faults in a copy of filter/, each of which structure.py must find."""

import pathlib
import shutil
import tempfile
import unittest

import structure

ROOT = pathlib.Path(structure.__file__).parent.parent
# Two files of each crate, the first of which imports the second.
IMPORTS = {
    "config": ("reader.rs", "error.rs", "crate::reader::Node"),
    "core": ("export/queue.rs", "export/batch.rs", "crate::export::queue::BatchSpanProcessor"),
    "dynamic-module": ("http_filter.rs", "attempt.rs", "crate::http_filter::HttpFilter"),
    "proxy-wasm": ("property_query.rs", "hostcalls.rs", "crate::property_query::Question"),
    "runtime": ("workers.rs", "worker.rs", "crate::workers::Workers"),
    "validate": ("find.rs", "yaml.rs", "crate::find::Document"),
}


class Structure(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for crate in structure.LAYERS:
            shutil.copytree(ROOT / "filter" / crate / "src", self.root / "filter" / crate / "src")

    def file(self, crate, name):
        return self.root / "filter" / crate / "src" / name

    def faults(self, crate):
        return "\n".join(structure.crate_faults(crate, self.root))

    def append(self, crate, name, text):
        with self.file(crate, name).open("a") as file:
            file.write(text)

    def test_every_crate_under_filter_is_checked(self):
        crates = {path.parent.name for path in ROOT.glob("filter/*/Cargo.toml")}
        self.assertEqual(crates, set(structure.LAYERS))
        self.assertEqual(crates, set(IMPORTS))

    def test_tree_has_no_fault(self):
        for crate in structure.LAYERS:
            self.assertEqual(self.faults(crate), "")

    def test_circle_of_two_files_is_found_in_each_crate(self):
        for crate, (upper, lower, path) in IMPORTS.items():
            self.append(crate, lower, f"\nuse {path};\n")
            faults = self.faults(crate)
            for found in (upper, lower, "import each other"):
                self.assertIn(found, faults)

    def test_circle_through_a_path_in_an_expression_is_found(self):
        self.append("core", "export/batch.rs", "\nfn f() { crate::export::queue::g(); }\n")
        self.assertIn("import each other", self.faults("core"))

    def test_circle_around_a_third_file_is_found(self):
        self.append("core", "stats.rs", "\nuse crate::tracer::Tracer;\n")
        self.assertIn("import each other", self.faults("core"))

    def test_import_upwards_is_found_without_a_circle(self):
        self.append("core", "context/baggage.rs", "\nuse crate::sampling::tail_keep::{self, Keep};\n")
        self.assertIn("context/baggage.rs may not import", self.faults("core"))

    def test_imports_in_comments_texts_and_unit_tests_do_not_count(self):
        code = (
            "\n// use crate::tracer::Tracer;\n/// [`crate::tracer::Tracer`]\nconst T: &str = \"crate::tracer::T\";\n"
            "#[cfg(test)]\nmod tests {\n    use crate::tracer::Tracer;\n}\n"
        )
        self.append("core", "context/baggage.rs", code)
        self.assertEqual(self.faults("core"), "")

    def test_file_of_401_lines_is_found(self):
        for crate, (name, _, _) in IMPORTS.items():
            lines = self.file(crate, name).read_text().count("\n")
            self.append(crate, name, "\n" * (structure.MAX_LINES - lines))
            self.assertNotIn("lines, at most", self.faults(crate))
            self.append(crate, name, "\n")
            self.assertIn(f"{name} has 401 lines", self.faults(crate))

    def test_unsafe_code_outside_the_abi_is_found(self):
        for crate, (name, other, _) in IMPORTS.items():
            name = {"hostcalls.rs": name}.get(other, other)
            self.append(crate, name, "\nfn f() { unsafe { g() } }\n")
            self.assertIn(f"{name} may not contain unsafe code", self.faults(crate))

    def test_file_in_no_layer_is_found(self):
        self.file("core", "util.rs").write_text("")
        self.assertIn("util is in no layer", self.faults("core"))


if __name__ == "__main__":
    unittest.main()
