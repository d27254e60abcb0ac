#!/bin/sh
# A Python with numpy for another processor, under qemu-user: tests/seedfile/foreign.sh aarch64|s390x FOLDER
#
# Leaves FOLDER/python.sh, which runs that Python with the arguments it is given. Everything comes from Debian 13
# (numpy 2.2), signatures verified by apt, and stays in FOLDER: apt runs on a state of its own, nothing is installed
# on the machine, and root is not needed. About 115 MB to fetch, 125 MB to keep. Run again, it checks what is there.
# Needs apt, dpkg-deb and the package debian-archive-keyring. The mirror is the machine's own, or the URL of
# DEBIAN_MIRROR.
set -eu

fail() {
    echo "foreign.sh: $1" >&2
    exit 2
}

[ $# -eq 2 ] || fail "it takes two arguments, not $#: a machine (aarch64 or s390x) and a folder"
case $1 in
    aarch64) debian=arm64 order=little ;;
    s390x) debian=s390x order=big ;;
    *) fail "machine is '$1', allowed are aarch64 and s390x" ;;
esac
machine=$1
mkdir -p "$2" || fail "the folder '$2' cannot be made: name one that can"
folder=$(cd "$2" && pwd)
suite=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
root=$folder/root
apt=$folder/apt

works() {
    sh "$1" -c "
import platform, sys
import numpy, rfc8785
assert (platform.machine(), sys.byteorder) == ('$machine', '$order')
print('Python', platform.python_version(), 'with numpy', numpy.__version__, 'on $machine, $order-endian')
"
}

if [ -e "$folder/python.sh" ]; then
    works "$folder/python.sh" 2> /dev/null && exit 0
    echo "foreign.sh: $folder/python.sh does not work, and is made anew" >&2
    rm "$folder/python.sh"
fi

for tool in apt-get dpkg dpkg-deb tar; do
    command -v $tool > /dev/null || fail "$tool is missing: run this on Debian or one of its kin"
done
[ -r $keyring ] || fail "$keyring is missing: install the package debian-archive-keyring"
native=$(dpkg --print-architecture)
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian' | head -n 1)}
[ -n "$mirror" ] || fail "apt knows no mirror of Debian: run apt-get update, or put a mirror's URL in DEBIAN_MIRROR"

rm -rf "$root" "$apt"
trap 'rm -rf "$apt"' EXIT
mkdir -p "$root/usr/bin" "$apt/lists/partial" "$apt/archives/partial"
: > "$apt/status"
echo "deb [signed-by=$keyring] $mirror $suite main" > "$apt/sources.list"
# On top of the machine's own settings (its proxy, say), but without its hooks, sources and keys.
cat > "$apt/conf" <<END
#clear APT::Update;
#clear DPkg;
APT::Architecture "$debian";
APT::Architectures { "$debian"; "$native"; };
APT::Sandbox::User "";
APT::Get::AllowUnauthenticated "false";
APT::Update::Error-Mode "any";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt";
Dir::Cache::archives "$apt/archives";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "/dev/null";
END

fetch() {
    apt-get -c "$apt/conf" -qq "$@" >&2
}

fetch update || fail "apt could not read or verify Debian $suite from $mirror: see above"
fetch install --download-only --no-install-recommends -y "qemu-user:$native" python3-numpy python3-rfc8785 ||
    fail "apt could not fetch Python and numpy for $debian, or qemu-user for $native: see above"

# /bin, /lib and /sbin are links into usr, which a package's scripts, not run here, would make.
for name in bin lib sbin; do
    mkdir -p "$root/usr/$name"
    ln -s usr/$name "$root/$name"
done
for deb in "$apt"/archives/*.deb; do
    case $deb in
        */qemu-user_*)
            dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$folder" --strip-components=3 "./usr/bin/qemu-$machine"
            ;;
        *) dpkg-deb -x "$deb" "$root" ;;
    esac || fail "$(basename "$deb") cannot be unpacked into $folder: is the disk full?"
done

# The folders of blas and lapack are what a package's scripts would have linked to.
cat > "$folder/python.sh.part" <<END
#!/bin/sh
here=\$(cd "\$(dirname "\$0")" && pwd)
lib=\$here/root/usr/lib/$machine-linux-gnu
export PYTHONNOUSERSITE=1
exec "\$here/qemu-$machine" -L "\$here/root" -E "LD_LIBRARY_PATH=\$lib/blas:\$lib/lapack" \\
    "\$here/root/usr/bin/python3" "\$@"
END
works "$folder/python.sh.part" || fail "the Python of $root does not start under qemu-$machine: see above"
mv "$folder/python.sh.part" "$folder/python.sh"
