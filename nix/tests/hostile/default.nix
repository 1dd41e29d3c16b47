# A package set in which everything goes wrong that a package set can do, after nixpkgs' own ways of saying so.
{ system, config ? { }, overlays ? [ ] }:
let
  drv = name: extra: derivation ({ inherit name system; builder = "/bin/sh"; args = [ "-c" "echo ${name} > $out" ]; } // extra);
  package = name: meta: drv name { } // { pname = name; version = "1.0"; inherit meta; };
  guarded = name: meta: why:
    let plain = drv name { }; in
    plain // {
      pname = name;
      inherit meta;
      drvPath = throw "Package ‘${name}’ in /set.nix:1 ${why}, refusing to evaluate.";
      outPath = throw "Package ‘${name}’ in /set.nix:1 ${why}, refusing to evaluate.";
    };
  multiple = derivation { name = "multi-1"; inherit system; outputs = [ "bin" "dev" "out" "man" ]; builder = "/bin/sh"; args = [ "-c" "for o in $outputs; do echo x > \${!o}; done" ]; };
in
rec {
  good = package "good" { description = "a good one"; license = { spdxId = "MIT"; shortName = "mit"; }; homepage = [ "https://example.org" "https://example.com" ]; mainProgram = "good"; priority = 7; };
  bare = drv "bare" { };
  Capital = package "capital" { };
  _7zz = package "7zz" { };
  "c++x" = package "cxx" { };
  "\${evil}" = package "evil" { };
  multi = multiple // { meta = { outputsToInstall = [ "bin" "man" ]; }; };
  python3Packages = { NumPy = package "numpy" { license = [ "BSD" { shortName = "mit"; } ]; }; _3d = package "3d" { }; };
  unfree = guarded "unfree-1" { unfree = true; license = { shortName = "unfree"; }; } "has an unfree license (‘unfree’)";
  broken = guarded "broken-1" { broken = true; } "is marked as broken";
  insecure = guarded "insecure-1" { insecure = true; knownVulnerabilities = [ "CVE-1" ]; } "is marked as insecure";
  renamed = throw "'renamed' has been renamed to/replaced by 'good'";
  throwing = drv "throwing" { x = throw "no such luck"; };
  aborting = abort "this set gives up";
  typeError = 1 + "x";
  function = { lib }: lib;
  lib = { version = "1"; };
  nothing = null;
  wrongMeta = package "wrong-meta" { description = x: x; license = throw "no licence"; homepage = 3; mainProgram = [ ]; priority = "high"; };
  throwingMeta = drv "throwing-meta" { } // { meta = throw "no meta"; };
  stdenv = package "stdenv" { } // { cc = package "cc" { }; initialPath = [ (package "tool" { }) ]; };
}
