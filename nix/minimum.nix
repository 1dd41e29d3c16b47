# What this Nix lacks for a package set, before the set itself gives up on it: nixpkgs ends an evaluation with an abort.
{ set }:
let
  inherit (builtins) compareVersions nixVersion pathExists tryEval;
  features = set + "/lib/minfeatures.nix";
  version = set + "/lib/minver.nix";
  missing = tryEval (import features).missing;
in
if pathExists features then missing.success && missing.value != [ ]
else if pathExists version then compareVersions (import version) nixVersion > 0
else false
