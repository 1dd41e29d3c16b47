#!/usr/bin/env python3
"""Runs evaluate.nix on the hostile package set and compares its answers.

NIX names a command prefix, for a Nix elsewhere: NIX='chroot /srv/trixie' (the repository must be mounted there).
"""
import json, os, shlex, subprocess, tempfile, unittest

HERE = os.path.dirname(os.path.abspath(__file__))
EXPRESSION = os.path.join(os.path.dirname(HERE), "evaluate.nix")
STATE = os.environ.get("STATE", tempfile.mkdtemp(prefix="evaluate-"))


def ask(*attributes, explain=False, config=None):
    request = {"set": f"{HERE}/hostile", "system": "x86_64-linux", "config": config or {},
               "attributes": [list(a) if isinstance(a, tuple) else a.split(".") for a in attributes], "explain": explain}
    path = os.path.join(STATE, "request.json")
    with open(path, "w") as f:
        json.dump(request, f)
    env = {"PATH": os.environ["PATH"], "HOME": STATE, "NIX_REMOTE": "",
           "NIX_CONFIG": "restrict-eval = true\nallow-import-from-derivation = false\nsubstituters =\n"}
    command = shlex.split(os.environ.get("NIX", "")) + [
        "nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode",
        "-I", STATE, "-I", HERE, "-I", os.path.dirname(EXPRESSION), EXPRESSION, "--argstr", "request", path]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def answers(*attributes, **options):
    done = ask(*attributes, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Evaluate(unittest.TestCase):
    def test_a_good_package_is_described(self):
        [it] = answers("good")
        self.assertEqual(it["status"], "ok")
        self.assertEqual(it["attribute"], ["good"])
        self.assertEqual((it["name"], it["pname"], it["version"]), ("good", "good", "1.0"))
        self.assertEqual((it["licenses"], it["homepage"], it["mainProgram"], it["priority"]), (["MIT"], "https://example.org", "good", 7))
        [drv] = it["drvs"]
        self.assertTrue(os.path.exists(drv["drvPath"]), "instantiated, not only named")
        self.assertEqual([o["name"] for o in drv["outputs"]], ["out"])

    def test_names_are_found_at_every_level_whatever_their_case(self):
        found = {"good": "good", "capital": "Capital", "CAPITAL": "Capital", "7zz": "_7zz", "_7zz": "_7zz", "c++x": "c++x",
                 "python3packages.numpy": "python3Packages.NumPy", "python3Packages.3d": "python3Packages._3d", "multi.dev": "multi.dev"}
        for asked, it in zip(found, answers(*found)):
            self.assertEqual((it["status"], ".".join(it["attribute"])), ("ok", found[asked]), asked)

    def test_names_are_data(self):
        injected = [("${evil}",), ('good" or "x',), ("good; abort", "x"), ("--option",), ("",), ("\n",)]
        first, *rest = answers(*injected)
        self.assertEqual((first["status"], first["attribute"]), ("ok", ["${evil}"]))
        self.assertEqual({it["status"] for it in rest}, {"missing"})

    def test_only_what_is_to_be_installed_is_asked_for(self):
        whole, dev = answers("multi", "multi.dev")
        self.assertEqual([o["name"] for o in whole["drvs"][0]["outputs"]], ["bin"])
        self.assertEqual([o["name"] for o in dev["drvs"][0]["outputs"]], ["dev"])

    def test_what_is_missing_says_where(self):
        top, nested, below = answers("godo", "python3packages.nump", "nothing.x")
        self.assertEqual((top["status"], top["prefix"], "good" in top["names"]), ("missing", [], True))
        self.assertEqual((nested["prefix"], nested["names"]), (["python3Packages"], ["NumPy", "_3d"]))
        self.assertEqual((below["status"], below["names"]), ("missing", []))

    def test_refusals_have_a_reason(self):
        for name, it in zip(["unfree", "broken", "insecure"], answers("unfree", "broken", "insecure")):
            self.assertEqual((it["status"], it["reason"]), ("refused", name))
        self.assertEqual(it["knownVulnerabilities"], ["CVE-1"])

    def test_what_is_no_package_is_told_by_kind(self):
        kinds = [it["what"] for it in answers("lib", "function", "lib.version", "nothing")]
        self.assertEqual(kinds, ["set", "lambda", "string", "null"])

    def test_a_throw_sinks_nobody_else_and_can_be_explained(self):
        statuses = [it["status"] for it in answers("renamed", "throwing", "good", "renamed.deeper")]
        self.assertEqual(statuses, ["threw", "threw", "ok", "threw"])
        done = ask("renamed", explain=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("has been renamed to/replaced by 'good'", done.stderr)

    def test_what_cannot_be_caught_ends_the_process(self):
        for name in ["aborting", "typeError"]:
            self.assertNotEqual(ask("good", name).returncode, 0)

    def test_wrong_metadata_is_left_out(self):
        wrong, throwing, bare = answers("wrongMeta", "throwingMeta", "bare")
        self.assertEqual([wrong[k] for k in ("status", "description", "licenses", "homepage", "mainProgram", "priority")],
                         ["ok", None, [], None, None, None])
        self.assertEqual((throwing["status"], bare["status"], bare["pname"]), ("ok", "ok", None))

    def test_licences_have_many_shapes(self):
        self.assertEqual(answers("python3Packages.NumPy")[0]["licenses"], ["BSD", "mit"])

    def test_a_stdenv_brings_its_tools(self):
        [it] = answers("stdenv")
        self.assertEqual([d["outputs"][0]["path"].split("-", 1)[1] for d in it["drvs"]], ["stdenv", "cc", "tool"])


if __name__ == "__main__":
    unittest.main()
