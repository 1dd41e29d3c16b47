set -eu
export PATH=$tools/bin
mkdir -p t "$out/etc"
for deb in $debs; do ar p "$deb" data.tar.xz | unxz | tar -x -C t; done
cp t/etc/protocols t/etc/services "$out/etc/"
