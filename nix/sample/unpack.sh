# Debian packages as one output: files moved out of /usr, programs and scripts patched to run from the store.
set -eu
export PATH=$tools/bin
umask 022
case $target in
  x86_64-linux) triplet=x86_64-linux-gnu loader=ld-linux-x86-64.so.2 ;;
  aarch64-linux) triplet=aarch64-linux-gnu loader=ld-linux-aarch64.so.1 ;;
esac

mkdir -p "$out" t
for deb in $debs; do ar p "$deb" data.tar.xz | unxz | tar -x -C t; done
rm -rf t/var t/usr/share/man t/usr/share/info t/usr/share/locale t/usr/share/lintian t/usr/share/bug t/usr/share/menu \
  t/usr/share/applications t/usr/share/icons t/usr/share/pixmaps t/usr/share/gcc t/usr/share/bash-completion t/lib64 \
  t/etc/apt t/etc/cron* t/etc/init.d t/etc/skel t/usr/lib/systemd t/lib/systemd t/usr/lib/valgrind
find t/usr/share/doc -mindepth 1 ! -name copyright ! -type d -exec rm -f {} + 2>/dev/null || true
merge() { [ ! -d "$1" ] || { mkdir -p "$2" && cp -a "$1/." "$2/"; }; }
merge t/usr/sbin "$out/bin" && rm -rf t/usr/sbin
merge t/usr "$out"
merge t/bin "$out/bin"
merge t/sbin "$out/bin"
merge t/lib "$out/lib"
merge t/etc "$out/etc"
rm -rf t

# absolute links, and links into packages that this one needs
find "$out" -type l | while read -r link; do
  to=$(readlink "$link")
  case $to in
    /usr/sbin/*) ln -sfn "$out/bin/${to#/usr/sbin/}" "$link" ;;
    /usr/*) ln -sfn "$out/${to#/usr/}" "$link" ;;
    /sbin/*) ln -sfn "$out/bin/${to#/sbin/}" "$link" ;;
    /bin/* | /lib/* | /etc/*) ln -sfn "$out$to" "$link" ;;
  esac
  [ ! -e "$link" ] || continue
  case $(readlink "$link") in
    "$out"/*) wanted=$(readlink "$link") wanted=${wanted#"$out"/} ;;
    *) at=$(dirname "$link") wanted=${at#"$out"/}/$(readlink "$link") ;;
  esac
  for dep in $deps; do
    if [ -e "$dep/$wanted" ]; then
      ln -sfn "$dep/$wanted" "$link"
      break
    fi
  done
  # what leads nowhere is of no use to anybody
  [ -e "$link" ] || rm "$link"
done

is_elf() { [ "$(head -c 4 "$1" | od -An -tx1 | tr -d ' \n')" = 7f454c46 ]; }

libraries() { # the directories of $1 that hold libraries
  find "$1/lib" -name '*.so*' 2>/dev/null | while read -r lib; do dirname "$lib"; done | sort -u
}

if [ -n "$libc" ]; then
  rpath=$(libraries "$out" | tr '\n' ':')
  for dep in $deps; do
    for dir in "$dep/lib/$triplet" "$dep/lib"; do [ ! -d "$dir" ] || rpath=$rpath$dir:; done
  done
  find "$out" -type f \( -perm -100 -o -name '*.so*' \) | while read -r file; do
    is_elf "$file" || continue
    chmod u+w "$file"
    # a static program or an object file has nothing to patch
    if patchelf --print-interpreter "$file" >/dev/null 2>&1; then
      patchelf --set-interpreter "$libc/lib/$triplet/$loader" "$file"
    fi
    if patchelf --force-rpath --set-rpath "$rpath" "$file" 2>/dev/null; then patchelf --shrink-rpath "$file"; fi
  done
fi

wrap() { # PROGRAM LINE...: a program that is started with more in its environment
  program=$1 hidden=$(dirname "$1")/.$(basename "$1")-wrapped
  shift
  mv "$program" "$hidden"
  { echo "#!$bash/bin/bash"; for line; do echo "$line"; done; echo "exec -a \"\$0\" $hidden \"\$@\""; } > "$program"
  chmod 555 "$program"
}

perl_modules() {
  for dep in $out $deps; do
    for dir in share/perl5 "lib/$triplet/perl5/5.36"; do [ ! -d "$dep/$dir" ] || printf '%s:' "$dep/$dir"; done
  done
}

if [ -n "$bash" ]; then
  find "$out" -type f -perm -100 | while read -r file; do
    [ "$(head -c 2 "$file")" = '#!' ] || continue
    first=$(head -n 1 "$file")
    case $first in
      *bin/perl* | *'env perl'*) to=${perl:+$perl/bin/perl} ;;
      *bin/python3* | *'env python3'*) to=${python:+$python/bin/python3} ;;
      *bin/bash* | *'env bash'*) to=$bash/bin/bash ;;
      *bin/sh*) to=$bash/bin/sh ;;
      *) to='' ;;
    esac
    [ -n "$to" ] || continue
    rest=$(echo "$first" | sed -E 's,^#! *[^ ]*(env +(perl|python3|bash))? *,,')
    chmod u+w "$file"
    sed -i "1s,.*,#!$to${rest:+ $rest}," "$file"
    case $to in
      */perl)
        modules=$(perl_modules)
        case $file in "$out"/bin/*) [ -z "$modules" ] || wrap "$file" "export PERL5LIB=$modules\$PERL5LIB" ;; esac ;;
    esac
  done
fi

case $pname in
  git)
    wrap "$out/bin/git" "export GIT_EXEC_PATH=\${GIT_EXEC_PATH:-$out/lib/git-core} GIT_TEMPLATE_DIR=\${GIT_TEMPLATE_DIR:-$out/share/git-core/templates}" ;;
  perl)
    wrap "$out/bin/perl" "export PERL_BADLANG=0 PERL5LIB=$out/share/perl/5.36:$out/lib/$triplet/perl/5.36:$out/lib/$triplet/perl-base:\$PERL5LIB" ;;
  nano | htop | less)
    [ -z "$ncurses" ] || wrap "$out/bin/$pname" "export TERMINFO_DIRS=\${TERMINFO_DIRS:-$ncurses/lib/terminfo}" ;;
  gcc-12)
    # the linker scripts name the libraries of an installed Debian
    for script in "$out/lib/$triplet/libc.so" "$out/lib/$triplet/libm.so"; do
      [ ! -f "$script" ] || sed -i "s,/usr/lib/$triplet,$out/lib/$triplet,g; s, /lib/$triplet, $libc/lib/$triplet,g; s,/lib64/ld,$libc/lib/$triplet/ld,g" "$script"
    done
    ln -s "$triplet-gcc-12" "$out/bin/gcc" 2>/dev/null || true
    [ -e "$out/bin/$triplet-gcc-12" ] && wrap "$out/bin/$triplet-gcc-12" "set -- -B$out/lib/$triplet -B$binutils/bin -idirafter $out/include -idirafter $out/include/$triplet -L$out/lib/$triplet -L$libc/lib/$triplet -L$libgcc/lib/$triplet -Wl,-dynamic-linker,$libc/lib/$triplet/$loader -Wl,-rpath,$libc/lib/$triplet:$libgcc/lib/$triplet \"\$@\""
    ln -s gcc "$out/bin/cc" ;;
esac

find "$out" -type f -perm /6000 -exec chmod ug-s {} +
