# A package set made of Debian packages, with nixpkgs' interface. generate.py writes the directory that it works in.
{ system ? builtins.currentSystem, config ? { }, overlays ? [ ], ... }:

let
  inherit (builtins)
    attrNames concatLists concatStringsSep elem filter foldl' fromJSON genList getAttr hasAttr isList listToAttrs map
    mapAttrs match readFile removeAttrs replaceStrings stringLength substring;

  facts = fromJSON (readFile (./. + "/${system}.json"));
  listed = fromJSON (readFile ./packages.json);
  # packages for another architecture are only unpacked and patched, which any machine can do
  builder = builtins.currentSystem or system;
  native = fromJSON (readFile (./. + "/${builder}.json"));

  file = path: name: builtins.path { inherit path name; };
  deb = name: file (./debs + "/${name}") name;

  # What builds the others: busybox and patchelf, and no trace of them in what they make.
  tools = derivation {
    name = "sample-tools";
    system = builder;
    builder = "${file (./. + "/bootstrap-${builder}") "bootstrap"}/busybox";
    args = [ "sh" (file ./tools.sh "tools.sh") ];
    debs = map deb native.bootstrap;
  };

  shell = args: attributes: derivation ({
    system = builder;
    builder = "${tools}/bin/busybox";
    args = [ "sh" ] ++ args;
    inherit tools;
  } // attributes);
  run = script: shell [ script ];
  command = text: shell [ "-c" text ];

  unique = list: attrNames (listToAttrs (map (name: { inherit name; value = null; }) list));
  closure = name: unique (concatLists (map (dep: [ dep ] ++ closures.${dep}) facts.packages.${name}.deps));
  closures = mapAttrs (name: _: closure name) facts.packages;

  unpacked = name: package: run (file ./unpack.sh "unpack.sh") {
    name = "${package.pname}-${package.version}";
    inherit (package) pname version;
    target = system;
    debs = map deb package.debs;
    deps = map (dep: debian.${dep}) closures.${name};
    libc = if name == "libc6" then "" else debian.libc6;
    bash = if elem "bashInteractive" closures.${name} then debian.bashInteractive else "";
    perl = if elem "perl" closures.${name} then debian.perl else "";
    python = if elem "python3" closures.${name} then debian.python3 else "";
    ncurses = if elem "ncurses-base" closures.${name} then debian.ncurses-base else "";
    binutils = if name == "gcc" then debian.binutils else "";
    libgcc = if name == "gcc" then debian.libgcc-s1 else "";
  };
  debian = mapAttrs unpacked facts.packages;

  # nixpkgs' guard: metadata can be read of everything, but what is refused has no derivation.
  checkMeta = drv: meta:
    let
      name = drv.name;
      unfree = meta.unfree or false;
      broken = meta.broken or false;
      insecure = (meta.knownVulnerabilities or [ ]) != [ ];
      allowed = predicate: (config.${predicate} or (_: false)) drv;
      why =
        if unfree && !(config.allowUnfree or false) && !(allowed "allowUnfreePredicate") then "has an unfree license (‘${meta.license.shortName}’)"
        else if broken && !(config.allowBroken or false) then "is marked as broken"
        else if insecure && !(elem name (config.permittedInsecurePackages or [ ])) then "is marked as insecure"
        else null;
      guard = value: if why == null then value else throw "Package ‘${name}’ in ${toString ./default.nix}:1 ${why}, refusing to evaluate.";
      outputs = listToAttrs (map (o: { name = o; value = drv.${o} // { outPath = guard drv.${o}.outPath; drvPath = guard drv.drvPath; }; }) drv.outputs);
    in
    drv // outputs // {
      outPath = guard drv.outPath;
      drvPath = guard drv.drvPath;
      meta = { inherit name unfree broken insecure; unsupported = false; available = why == null; outputsToInstall = [ (if elem "bin" drv.outputs then "bin" else "out") ]; } // meta;
    };
  withVersion = drv: pname: version: (if drv ? outputs then drv else drv // { outputs = [ "out" ]; }) // { inherit pname version; };

  package = name:
    let it = listed.${name}; in
    checkMeta (withVersion debian.${name} facts.packages.${name}.pname facts.packages.${name}.version) ({
      inherit (it) description homepage;
      license = { spdxId = it.license; shortName = it.license; free = true; };
    } // (if it ? mainProgram then { inherit (it) mainProgram; } else { }));

  isNested = name: match ".*\\..*" name != null;
  levels = name: filter builtins.isString (builtins.split "\\." name);
  topLevel = listToAttrs (map (name: { inherit name; value = package name; }) (filter (name: !(isNested name)) (attrNames listed)));
  nested = foldl'
    (sets: name:
      let outer = builtins.elemAt (levels name) 0; inner = builtins.elemAt (levels name) 1; in
      sets // { ${outer} = (sets.${outer} or { recurseForDerivations = true; }) // { ${inner} = package name; }; })
    { }
    (filter isNested (attrNames listed));

  free = { spdxId = "MIT"; shortName = "mit"; free = true; };
  example = pname: attributes: meta:
    let
      drv = command ("set -eu; export PATH=$tools/bin\n" + attributes.script)
        # whoever wants to see a build again gives another salt
        ({ name = "${pname}-1.0"; salt = config.salt or ""; } // removeAttrs attributes [ "script" ]);
    in
    checkMeta (withVersion drv pname "1.0") ({ description = "An example of the sample set"; license = free; } // meta);

  script = interpreter: text: "mkdir -p $out/bin; printf '#!%s\\n%s\\n' ${interpreter} '${text}' > $out/bin/$NAME; chmod 555 $out/bin/$NAME\n";
  says = pname: text: meta: example pname { NAME = pname; script = script "${debian.bashInteractive}/bin/sh" "echo ${text}"; } ({ mainProgram = pname; } // meta);
  slow = seconds: example "slow-${toString seconds}" {
    inherit seconds;
    NAME = "slow";
    script = ''
      for second in $(seq $seconds); do echo "second $second of $seconds"; sleep 1; done
    '' + script "${debian.bashInteractive}/bin/sh" "echo it took a while";
  } { mainProgram = "slow"; };
  collide = pname: meta: example pname {
    inherit pname;
    script = ''
      mkdir -p $out/bin $out/share/collide $out/share/only-$pname
      printf '#!%s\necho %s\n' ${debian.bashInteractive}/bin/sh $pname > $out/bin/collide; chmod 555 $out/bin/collide
      echo $pname > $out/share/collide/winner; echo $pname > $out/share/collide/$pname; echo $pname > $out/share/only-$pname/file
    '';
  } meta;
  wide = pname: from: example pname {
    paths = genList
      (n: example "wide-path-${toString (n + from)}" { n = n + from; script = "mkdir $out; { echo $n; head -c 4300000 /dev/zero; } > $out/data\n"; } { })
      50;
    script = "mkdir -p $out/share; echo $paths > $out/share/$name\n";
  } { };
  pad = n: substring (stringLength (toString n)) 3 "000${toString n}";

  examples = {
    unfree-example = says "unfree-example" "unfree" { unfree = true; license = { shortName = "unfree"; free = false; }; };
    broken-example = says "broken-example" "broken" { broken = true; };
    insecure-example = says "insecure-example" "insecure" { knownVulnerabilities = [ "CVE-2026-0001" ]; };
    throwing-example = throw "this package always throws";
    removed-example = throw "'removed-example' has been renamed to/replaced by 'hello'";
    aborting-example = abort "this package ends the evaluator";
    not-a-derivation = { lib }: lib;
    failing-example = example "failing-example" {
      script = "for line in $(seq 4000); do echo \"line $line of a log that nobody will read to its end\"; done; echo 'error: the example fails here' >&2; exit 3\n";
    } { };
    slow-45 = slow 45;
    slow-100 = slow 100;
    large-example = example "large-example" {
      script = "mkdir $out; ${debian.python3}/bin/python3 -c 'import random, sys; sys.stdout.buffer.write(random.Random(1).randbytes(96 << 20))' > $out/data\n";
    } { };
    multi-output-example = example "multi-output-example" {
      outputs = [ "bin" "out" "dev" "man" ];
      script = "mkdir -p $bin/bin $out/lib $dev/include $man/share/man/man1; printf '#!%s\\ncat %s/lib/text\\n' ${debian.bashInteractive}/bin/sh $out > $bin/bin/multi-output; chmod 555 $bin/bin/multi-output; echo text > $out/lib/text; echo $out > $dev/include/header; echo manual > $man/share/man/man1/page\n";
    } { outputsToInstall = [ "bin" "man" ]; mainProgram = "multi-output"; };
    collide-a = collide "collide-a" { priority = 6; };
    collide-b = collide "collide-b" { priority = 4; };
    collide-c = collide "collide-c" { };
    many = { recurseForDerivations = true; } // listToAttrs (genList
      (n: {
        name = "p${pad n}";
        value = example "many-p${pad n}" { inherit n; script = "mkdir -p $out/share/many; seq $n $((n + 400)) > $out/share/many/p$n\n"; } { };
      }) 140);
    # together more layers than an image can have: each needs fifty paths that are large, though made of nothing
    wide-a = wide "wide-a" 0;
    wide-b = wide "wide-b" 50;
  };

  data = {
    cacert = checkMeta (withVersion (run (file ./cacert.sh "cacert.sh") { name = "cacert-${facts.data.ca-certificates.version}"; debs = [ (deb facts.data.ca-certificates.deb) ]; }) "cacert" facts.data.ca-certificates.version) {
      description = "Bundle of X.509 certificates of public Certificate Authorities (CA)";
      license = { spdxId = "MPL-2.0"; shortName = "mpl20"; free = true; };
      homepage = "https://wiki.mozilla.org/CA";
    };
    iana-etc = checkMeta (withVersion (run (file ./iana-etc.sh "iana-etc.sh") { name = "iana-etc-${facts.data.netbase.version}"; debs = [ (deb facts.data.netbase.deb) ]; }) "iana-etc" facts.data.netbase.version) {
      description = "IANA protocol and port number assignments";
      license = free;
      homepage = "https://www.iana.org/protocols";
    };
    stdenv = checkMeta (withVersion (example "stdenv" { script = "mkdir $out; echo '# the setup of a build' > $out/setup\n"; } { }) "stdenv" "1.0") { description = "The standard build environment"; license = free; } // {
      cc = topLevel.gcc;
      initialPath = map (name: topLevel.${name}) [ "coreutils" "findutils" "diffutils" "gnused" "gnugrep" "gawk" "gnutar" "gzip" "bzip2" "gnumake" "bashInteractive" "xz" "binutils" ];
    };
  };

  set = topLevel // nested // examples // data // { debian = debian; };
  overlaid = foldl' (prev: overlay: let final = prev // overlay final prev; in final) set overlays;
in
overlaid
