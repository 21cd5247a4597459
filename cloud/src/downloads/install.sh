#!/bin/sh
# Installs the UnifyIT agent or site relay on this computer, enrols it with a
# token from the console, and starts it.
#
#   sh install.sh agent|relay --from URL --token TOKEN
#
# A TOKEN of `-` is read from standard input, and after it, in a line of its own, a
# proxy to fetch through: what stands among a program's arguments is read by every
# user of the computer.
#
# Packages come from URL by their BLAKE3 and are checked against the SHA-256 in
# the table below before anything is done with them. It says what it changes and
# how that is undone. It may be run again: what is installed is brought up to
# this version, and a computer that is enrolled stays enrolled.
set -eu

files='
@FILES@
'

# A computer's agent fetches from a relay on its LAN, past any proxy.
past_proxies() { unset https_proxy HTTPS_PROXY all_proxy ALL_PROXY; }

say() { printf '%s\n' "$*"; }
needs() { # what the program for this machine is built for; see deploy/packages/build
    case $machine in
    aarch64) echo "glibc 2.34 or newer (Debian 12, Ubuntu 22.04, Fedora 35, RHEL 9 and newer)" ;;
    *) echo "Linux 3.2 or newer" ;;
    esac
}
fail() {
    printf 'unifyit: %s\n' "$*" >&2
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

program=${1:-}
case $program in
agent | relay) shift ;;
*) fail "say what to install: sh install.sh agent|relay --from URL --token TOKEN" ;;
esac
from= token=
while [ $# -gt 0 ]; do
    case $1 in
    --from) from=${2:?} && shift 2 ;;
    --token) token=${2:?} && shift 2 ;;
    *) fail "$1 is not known here. Copy the whole line from the console again." ;;
    esac
done
[ -n "$from" ] && [ -n "$token" ] || fail "--from and --token are needed. Copy the whole line from the console again."
if [ "$token" = - ]; then
    IFS= read -r token || :
    IFS= read -r proxy || proxy=
    [ -n "$token" ] || fail "no token came by standard input. Copy the whole line from the console again."
    if [ -n "$proxy" ]; then export https_proxy="$proxy"; fi
fi
[ "$(id -u)" = 0 ] || fail "installing needs root. Run the line as root, or install sudo and run it again."
[ "$(uname -s)" = Linux ] || fail "this installer is for Linux; this is $(uname -s)."
name=unifyit-$program
machine=$(uname -m)
case $machine in arm64) machine=aarch64 ;; amd64) machine=x86_64 ;; esac

# --- What fits this computer -------------------------------------------------

row() { # row FORM: "sha256 blake3" of the file for this machine, or nothing
    printf '%s\n' "$files" | while read -r p form m sha blake; do
        if [ "$p $form $m" = "$program $1 $machine" ]; then echo "$sha $blake"; fi
    done
}

form=raw
# The package manager that the system itself came by: others may be installed too.
if have dpkg && dpkg -s dpkg >/dev/null 2>&1; then
    form=deb
elif have rpm && { [ -d /var/lib/rpm ] || [ -d /usr/lib/sysimage/rpm ]; }; then
    form=rpm
fi
chosen=$(row $form)
[ -n "$chosen" ] || { form=raw && chosen=$(row raw); }
if [ -z "$chosen" ]; then
    there=$(printf '%s\n' "$files" | awk -v p="$program" '$1 == p { print $3 }' | sort -u | tr '\n' ' ')
    fail "there is no $name for this kind of computer ($machine). There is one for: ${there:-none}."
fi
sha=${chosen% *} blake=${chosen#* }

# --- Fetch and check ---------------------------------------------------------

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
chmod 0755 "$folder" # apt's helper fetches as a user of its own
file=$folder/$name.$form
say "Fetching $name ($form, $machine) from $from"
# The bytes are checked below; the certificate proves nothing that the hash does not.
# Whoever stalls for a minute is tried again, and given up after some minutes.
fetch() (
    [ "$program" = relay ] || past_proxies
    if have curl; then
        if curl -kfsSL --retry 3 --connect-timeout 10 --speed-limit 1 --speed-time 60 -o "$file" "$from/$blake"; then exit 0; fi
    fi
    if have wget; then
        code=0
        wget -q -t 3 -T 60 --no-check-certificate -O "$file" "$from/$blake" || code=$?
        # Some builds of BusyBox crash when they are given a time limit: without one.
        if [ $code -ge 128 ]; then
            code=0
            wget -q --no-check-certificate -O "$file" "$from/$blake" || code=$?
        fi
        if [ $code = 0 ]; then exit 0; fi
    fi
    /usr/lib/apt/apt-helper -o Acquire::https::Verify-Peer=false download-file "$from/$blake" "$file" >/dev/null 2>&1
)
fetch ||
    fail "$from cannot be reached, or does not have the package. Check the network, then run the line again."
[ "$(sha256sum <"$file" | cut -c1-64)" = "$sha" ] ||
    fail "what came from $from is not the package that the console named. Nothing was installed. Copy a fresh line from the console; if this happens again, something between here and there changes files."

# --- Does it run here? -------------------------------------------------------

try=$folder/try
case $form in
deb) dpkg-deb --fsys-tarfile "$file" | tar -xO "./usr/bin/$name" >"$try" 2>/dev/null || rm -f "$try" ;;
rpm)
    if have rpm2cpio && have cpio; then
        rpm2cpio "$file" | (cd "$folder" && cpio -i --to-stdout "./usr/bin/$name") >"$try" 2>/dev/null || rm -f "$try"
    fi
    ;;
raw) cp "$file" "$try" ;;
esac
if [ -s "$try" ]; then
    chmod 0755 "$try"
    code=0
    "$try" --version >"$folder/log" 2>&1 || code=$?
    # 126: programs in /tmp may not be run, which says nothing of this one.
    if [ $code != 0 ] && [ $code != 126 ]; then
        cat "$folder/log" >&2
        fail "$name does not run on this system; it says why above. For $machine it needs $(needs). Nothing was installed."
    fi
    rm -f "$try"
fi

# --- Install -----------------------------------------------------------------

unit_file=/etc/systemd/system/$name.service
if [ $form != raw ] && [ -d /run/systemd/system ] && [ -e "$unit_file" ]; then
    fail "$unit_file was put there by hand or by \`make install\` and would hide the package's: the old program would go on. Remove it and its program (systemctl disable --now $name; rm $unit_file /usr/local/bin/$name), then run the line again. Nothing was installed."
fi

# Another package manager at work, as on a system's first start, is waited for.
as_package() {
    left=24
    until dpkg -i "$file" >"$folder/log" 2>&1 </dev/null; do
        grep -q 'lock was locked\|is locked\|database lock' "$folder/log" && [ $left -gt 0 ] || return 1
        [ $left != 24 ] || say "Another package manager is at work; waiting for it, two minutes at most."
        left=$((left - 1))
        sleep 5
    done
}

case $form in
deb)
    as_package || { cat "$folder/log" >&2 && fail "dpkg could not install the package; it says why above."; }
    removal="dpkg -P $name"
    path=/usr/bin/$name
    ;;
rpm)
    # It needs nothing but /bin/sh, which runs this.
    rpm -U --nodeps --replacepkgs --oldpackage "$file" >"$folder/log" 2>&1 || { cat "$folder/log" >&2 && fail "rpm could not install the package; it says why above."; }
    removal="rpm -e $name"
    path=/usr/bin/$name
    ;;
raw)
    path=/usr/local/bin/$name
    mkdir -p /usr/local/bin
    # In one step, so that a running program is never half a file.
    cp "$file" "$path.new" && chmod 0755 "$path.new" && mv "$path.new" "$path"
    removal="rm $path"
    ;;
esac
version=$("$path" --version 2>&1) ||
    fail "$path was installed and does not run here: $version. For $machine it needs $(needs). Undo with: $removal"
say "Installed $path: $version"

# --- Service -----------------------------------------------------------------

if [ "$program" = relay ]; then
    user=$name
    if ! grep -q "^$user:" /etc/passwd; then
        if have useradd; then
            useradd --system --user-group --no-create-home --home-dir "/var/lib/$name" --shell /sbin/nologin "$user"
        else # as BusyBox has it
            { addgroup -S "$user" && adduser -S -D -H -h "/var/lib/$name" -s /sbin/nologin -G "$user" "$user"; } ||
                fail "the user $user, whom the relay runs as, could not be made; it says why above. Make that user and run the line again, or undo with: $removal"
        fi
    fi
else
    user=root
fi

unit() { # the unit of systemd
    if [ "$program" = relay ]; then
        cat <<'UNIT'
@UNIT-RELAY@
UNIT
    else
        cat <<'UNIT'
@UNIT-AGENT@
UNIT
    fi
}

openrc() {
    cat <<'INIT'
@OPENRC@
INIT
}

sysv() {
    cat <<'INIT'
@SYSV@
INIT
}

fill() { sed -e "s#@PROGRAM@#$program#g" -e "s#@PATH@#$path#g" -e "s#@USER@#$user#g"; }

service=none
if [ -d /run/systemd/system ]; then
    service=systemd
    if [ $form = raw ]; then
        unit | sed "s#/usr/local/bin/#${path%/*}/#g" >"$unit_file"
        systemctl daemon-reload
    fi
elif have openrc-run && have rc-service; then
    service=openrc
    openrc | fill >"/etc/init.d/$name" && chmod 0755 "/etc/init.d/$name"
elif [ -d /etc/init.d ] && have setsid; then
    service=sysv
    sysv | fill >"/etc/init.d/$name" && chmod 0755 "/etc/init.d/$name"
fi

# --- Enrol -------------------------------------------------------------------

state=/var/lib/$name
if [ -e "$state/identity.cbor" ] || [ -e "$state/enrolment" ]; then
    say "This computer is enrolled already and stays where it is. The line's token was not used:"
    # It refuses, and says where that is and how it is changed.
    UNIFYIT_TOKEN=$token "$path" enroll 2>&1 </dev/null || :
else
    UNIFYIT_TOKEN=$token "$path" enroll </dev/null || fail "not enrolled; the sentence above says why. The program stays installed: mend that and run the line again, or undo with: $removal"
fi

# A relay runs as a user of its own; enrolling was root's work.
if [ "$program" = relay ] && [ -d "$state" ]; then chown -R "$user" "$state"; fi

# --- Start -------------------------------------------------------------------

boot="also after a restart of the computer"
no_boot="but it could not be set to start with the computer"
case $service in
systemd)
    systemctl enable "$name" >/dev/null 2>&1 || boot="$no_boot: systemctl enable $name says why"
    systemctl restart "$name" || fail "the service did not start: journalctl -u $name -n 30 says why."
    say "Started by systemd, $boot. How it is: systemctl status $name"
    off="systemctl disable --now $name"
    if [ $form = raw ]; then off="$off; rm -f $unit_file; systemctl daemon-reload"; fi
    ;;
openrc)
    rc-update add "$name" default >/dev/null 2>&1 || boot="$no_boot: rc-update add $name default says why"
    rc-service "$name" restart || fail "the service did not start; the system's log says why."
    say "Started by OpenRC, $boot. How it is: rc-service $name status"
    off="rc-service $name stop; rc-update del $name default; rm -f /etc/init.d/$name"
    ;;
sysv)
    off="/etc/init.d/$name stop; rm -f /etc/init.d/$name"
    if have update-rc.d; then
        update-rc.d "$name" defaults >/dev/null 2>&1 || boot="$no_boot: update-rc.d $name defaults says why"
        off="$off; update-rc.d $name remove"
    elif have chkconfig; then
        chkconfig --add "$name" || boot="$no_boot; it says why above"
        off="/etc/init.d/$name stop; chkconfig --del $name; rm -f /etc/init.d/$name"
    else
        boot="but not after a restart of the computer: add \"/etc/init.d/$name start\" to what this system runs then"
    fi
    "/etc/init.d/$name" restart || fail "the service did not start: $path run says why."
    say "Started by /etc/init.d/$name, $boot. How it is: /etc/init.d/$name status"
    ;;
none)
    say "No service manager was found, so it does not run. Have this system's init run: $path run"
    # By what runs, also where the file was replaced since: not every BusyBox has pkill, and what has another root, as in a container, is none of ours.
    off="while kill \$(for p in /proc/[0-9]*; do [ \$p/root -ef / ] && case \$(readlink \$p/exe) in ($path*) echo \${p#/proc/} ;; esac; done) 2>/dev/null; do sleep 1; done"
    ;;
esac

# --- The way back ------------------------------------------------------------

# One line that can be pasted as root, and leaves nothing.
if [ "$program" = agent ] && [ $service = none ]; then
    # Nobody else ends it, and it refuses to go while it runs.
    say "Undo everything, once init does not run it any more: $off; $name uninstall --yes; $removal"
elif [ "$program" = agent ]; then
    say "Undo everything: $name uninstall --yes; $removal"
else
    if have userdel; then unmake="userdel $user"; else unmake="deluser $user"; fi
    say "Undo everything: $off; $removal; rm -rf $state; rmdir /etc/unifyit 2>/dev/null; $unmake"
fi
