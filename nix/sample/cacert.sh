# Mozilla's certificates as the one file that programs look for, at nixpkgs' place.
set -eu
export PATH=$tools/bin
mkdir -p t "$out/etc/ssl/certs"
for deb in $debs; do ar p "$deb" data.tar.xz | unxz | tar -x -C t; done
find t/usr/share/ca-certificates -name '*.crt' | sort | while read -r certificate; do cat "$certificate"; done > "$out/etc/ssl/certs/ca-bundle.crt"
