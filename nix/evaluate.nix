# What the worker evaluates: a request, a JSON file, names attributes of a package set; the answer says of each, in the
# order of the request, what to build or why not. README.md has both formats.
#
# Names come in as data and are only ever looked up. `tryEval` goes round every attribute by itself; what it cannot
# catch (abort, type errors) ends the process, and the worker then asks for fewer attributes at once.
{ request }:

let
  inherit (builtins)
    attrNames concatMap deepSeq elem elemAt filter fromJSON genList head isAttrs isBool isFunction isInt isList
    isString length listToAttrs map match readFile replaceStrings stringLength substring tail tryEval typeOf;

  asked = fromJSON (readFile request);
  pkgs = import asked.set {
    inherit (asked) system config;
    overlays = [ ];
  };

  # with `explain`, nothing is caught: the process ends with the set's own words
  attempt = if asked.explain or false then (value: { success = true; inherit value; }) else tryEval;

  characters = text: genList (n: substring n 1 text) (stringLength text);
  toLower = replaceStrings (characters "ABCDEFGHIJKLMNOPQRSTUVWXYZ") (characters "abcdefghijklmnopqrstuvwxyz");

  # lower-case name -> name; of two that fold into one the first in byte order is found (listToAttrs keeps the first)
  index = set: listToAttrs (map (name: { name = toLower name; value = name; }) (attrNames set));
  topIndex = index pkgs;

  # the names of `set` that `name` may stand for, best first
  spellings = set: folded: name:
    let
      written = [ name ] ++ (if match "[0-9].*" name != null then [ "_${name}" ] else [ ]);
      folds = concatMap (n: if folded ? ${toLower n} then [ folded.${toLower n} ] else [ ]) written;
    in
    filter (n: set ? ${n}) (written ++ folds);

  # Down the path, level by level. `outer` is the derivation of which the value may be an output.
  walk = value: folded: path: found: outer:
    if path == [ ] then
      { status = "found"; inherit value found outer; }
    else if !(isAttrs value) then
      { status = "missing"; names = [ ]; prefix = found; }
    else
      let
        candidates = spellings value folded (head path);
        name = head candidates;
        next = attempt value.${name};
      in
      if candidates == [ ] then
        { status = "missing"; names = attrNames value; prefix = found; }
      else if !next.success then
        { status = "threw"; attribute = found ++ [ name ]; }
      else
        walk next.value (if isAttrs next.value then index next.value else { }) (tail path) (found ++ [ name ])
          (if isDerivation value then value else null);

  isDerivation = value: isAttrs value && (value.type or null) == "derivation";

  # A field of meta that has the right type, else null: meta may hold anything, and throw anywhere.
  field = meta: name: good:
    let
      result = attempt (let value = meta.${name}; in deepSeq value (if good value then value else null));
    in
    if isAttrs meta && meta ? ${name} && result.success then result.value else null;

  metaOf = drv: let result = tryEval (let meta = drv.meta or { }; in if isAttrs meta then meta else { }); in if result.success then result.value else { };

  licenses = license:
    if isString license then [ license ]
    else if isList license then concatMap licenses license
    else if !(isAttrs license) then [ ]
    else if license ? spdxId then licenses license.spdxId
    else if license ? shortName then licenses license.shortName
    else if license ? fullName then licenses license.fullName
    # compound licences hold others
    else licenses (license.licenses or [ ]);

  isStrings = value: isList value && builtins.all isString value;

  # nixpkgs' meta.outputsToInstall, less the manual pages: an image has no man
  wantedOutputs = drv:
    let
      all = drv.outputs or [ "out" ];
      usual = if elem "bin" all then "bin" else if elem "out" all then "out" else head all;
      asMeta = field (metaOf drv) "outputsToInstall" isStrings;
      wanted = filter (output: output != "man" && elem output all) (if asMeta == null then [ usual ] else asMeta);
    in
    if wanted == [ ] then [ usual ] else wanted;

  outputs = drv: names: {
    inherit (drv) drvPath;
    system = if isString (drv.system or null) then drv.system else null;
    outputs = map (name: { inherit name; path = (if drv ? ${name} then drv.${name} else drv).outPath; }) names;
  };

  # A stdenv has no programs of its own: its compiler and its usual tools are what a builder wants on the PATH.
  companions = drv: if drv ? initialPath && drv ? cc then [ drv.cc ] ++ drv.initialPath else [ ];

  isTrue = value: value == true;
  reason = meta:
    let found = filter (name: field meta name isTrue != null) [ "unfree" "broken" "insecure" "unsupported" ];
    in if found == [ ] then null else head found;

  describe = { value, found, outer, ... }:
    let
      meta = metaOf value;
      last = elemAt found (length found - 1);
      isOutput = outer != null && elem last (outer.outputs or [ ]);
      names = if isOutput || value.outputSpecified or false then [ value.outputName or "out" ] else wantedOutputs value;
      drvs = attempt (
        let all = [ (outputs value names) ] ++ map (drv: outputs drv (wantedOutputs drv)) (filter isDerivation (companions value));
        in deepSeq all all
      );
      string = name: let result = attempt (let v = value.${name}; in if isString v then v else null); in if value ? ${name} && result.success then result.value else null;
      homepage = field meta "homepage" (v: isString v || isStrings v);
      facts = {
        attribute = found;
        name = string "name";
        pname = string "pname";
        version = string "version";
        licenses = let l = field meta "license" (_: true); r = attempt (let all = licenses l; in deepSeq all all); in if l != null && r.success then r.value else [ ];
      };
    in
    if drvs.success then
      facts // {
        status = "ok";
        drvs = drvs.value;
        description = field meta "description" isString;
        homepage = if isList homepage then (if homepage == [ ] then null else head homepage) else homepage;
        mainProgram = field meta "mainProgram" isString;
        priority = field meta "priority" isInt;
      }
    else if reason meta != null then
      facts // {
        status = "refused";
        reason = reason meta;
        knownVulnerabilities = let v = field meta "knownVulnerabilities" isStrings; in if v == null then [ ] else v;
      }
    else
      { status = "threw"; attribute = found; };

  answer = path:
    let
      end = walk pkgs topIndex path [ ] null;
      result = attempt (
        let
          described =
            if end.status != "found" then end
            else if isDerivation end.value then describe end
            else {
              status = "notDerivation";
              what = typeOf end.value;
              attribute = end.found;
              names = if isAttrs end.value then attrNames end.value else [ ];
            };
        in
        deepSeq described described
      );
    in
    if result.success then result.value else { status = "threw"; attribute = path; };
in
map answer asked.attributes
