# busybox and patchelf with the libraries that it needs, for the scripts beside this one
set -eu
busybox=$(readlink /proc/self/exe)
"$busybox" mkdir -p "$out/bin" "$out/lib"
"$busybox" cp "$busybox" "$out/bin/busybox"
for applet in $("$busybox" --list); do
  [ "$applet" = busybox ] || "$busybox" ln -s busybox "$out/bin/$applet"
done
export PATH=$out/bin
mkdir t
for deb in $debs; do ar p "$deb" data.tar.xz | unxz | tar -x -C t; done
find t -name '*.so*' -type f | while read -r lib; do cp "$lib" "$out/lib/"; done
find t -name '*.so*' -type l | while read -r lib; do
  [ -e "$out/lib/$(basename "$lib")" ] || ln -s "$(basename "$(readlink "$lib")")" "$out/lib/$(basename "$lib")"
done
cp t/usr/bin/patchelf "$out/lib/patchelf"
loader=$(find "$out/lib" -name 'ld-linux*')
printf '#!%s sh\nexec %s --library-path %s %s "$@"\n' "$out/bin/busybox" "$loader" "$out/lib" "$out/lib/patchelf" > "$out/bin/patchelf"
chmod 555 "$out/bin/patchelf"
