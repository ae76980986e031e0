"""Parts of a release: versions that agree, notes, a template with its code beside it."""

import io
import re
import tempfile
import unittest
import zipfile
from pathlib import Path

import package
import version

TEMPLATE = (package.ROOT / "infra/template.yaml").read_text()
FUNCTIONS = sorted({name for _, name in package.CODE_URI.findall(TEMPLATE)})


class Versions(unittest.TestCase):
    def test_all_files_name_the_same_version(self):
        found = version.versions()
        self.assertNotIn(None, found.values())
        self.assertEqual(len(set(found.values())), 1, found)

    def test_versions_that_differ_are_refused(self):
        with self.assertRaisesRegex(version.Disagreement, "a has 1.0.0, b has 1.0.1"):
            version.agreed({"a": "1.0.0", "b": "1.0.1"})

    def test_a_file_without_a_version_is_refused(self):
        with self.assertRaises(version.Disagreement):
            version.agreed({"a": None})

    def test_notes_are_those_of_the_version_alone(self):
        changelog = (
            "# Changelog\n\n## Unreleased\n\nlater\n\n## 0.2.0 - 2026-11-22\n\n### Added\n\n- this\n\n"
            "## 0.1.0 - 2026-11-01\n\n- that\n"
        )
        self.assertEqual(version.notes(changelog, "0.2.0"), "### Added\n\n- this")
        self.assertEqual(version.notes(changelog, "0.1.0"), "- that")

    def test_a_version_without_notes_is_refused(self):
        for changelog in [
            "## Unreleased\n\n- this\n",
            "## 0.1.0 - 2026-11-01\n\n## 0.0.9 - 2026-10-01\n\n- that\n",
            "## 0.1.0\n\n- this\n",
        ]:
            with self.assertRaises(version.Disagreement):
                version.notes(changelog, "0.1.0")


class Package(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        for name in FUNCTIONS:
            code = self.folder / name
            code.mkdir(parents=True)
            (code / "bootstrap").write_bytes(name.encode())

    def packed(self, to: str = "to") -> Path:
        return package.package(self.folder, "arm64", "9.9.9", FUNCTIONS, self.folder / to)

    def test_every_function_of_the_template_has_its_zip_beside_it(self):
        with zipfile.ZipFile(self.packed()) as archive:
            template = archive.read("template.yaml").decode()
            named = re.findall(r"CodeUri: \./(\S+)", template)
            self.assertGreaterEqual(len(named), len(FUNCTIONS))
            for name in named:
                with zipfile.ZipFile(io.BytesIO(archive.read(name))) as function:
                    self.assertEqual(function.namelist(), ["bootstrap"])
                    self.assertEqual(function.read("bootstrap").decode(), name.removesuffix(".zip"))
                    self.assertEqual(function.getinfo("bootstrap").external_attr >> 16 & 0o777, 0o755)
        self.assertNotIn("target/", template)

    def test_the_default_architecture_is_that_of_the_code(self):
        with zipfile.ZipFile(self.packed()) as archive:
            parameter = (
                archive.read("template.yaml").decode().split("\n  Architecture:\n")[1].split("\n  StageName:")[0]
            )
        self.assertIn("Default: arm64", parameter)

    def test_nothing_else_of_the_template_changes(self):
        changed = package.packaged_template(TEMPLATE, "arm64", FUNCTIONS)
        lines = zip(TEMPLATE.splitlines(), changed.splitlines(), strict=True)
        others = [line for line, now in lines if line != now and "CodeUri:" not in line]
        self.assertEqual(others, ["    Default: x86_64"])

    def test_the_same_input_makes_the_same_bytes(self):
        self.assertEqual(self.packed("one").read_bytes(), self.packed("two").read_bytes())

    def test_a_function_that_was_not_built_is_named(self):
        with self.assertRaisesRegex(package.NotPacked, FUNCTIONS[0]):
            package.packaged_template(TEMPLATE, "arm64", FUNCTIONS[1:])

    def test_code_in_another_place_is_refused(self):
        template = TEMPLATE.replace(
            "CodeUri: ../target/deploy/lambda/session/", "CodeUri: ../target/deploy/lambda/session", 1
        )
        with self.assertRaisesRegex(package.NotPacked, "another form"):
            package.packaged_template(template, "arm64", FUNCTIONS)


if __name__ == "__main__":
    unittest.main()
