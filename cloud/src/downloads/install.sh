#!/bin/sh
# Installs the UnifyIT agent or site relay on this computer, enrols it with a
# token from the console, and starts it.
#
#   sh install.sh agent|relay --from URL --token TOKEN
#
# Packages come from URL by their BLAKE3 and are checked against the SHA-256 in
# the table below before anything is done with them. It says what it changes and
# how that is undone. It may be run again: what is installed is brought up to
# this version, and a computer that is enrolled stays enrolled.
set -eu

files='
@FILES@
'

say() { printf '%s\n' "$*"; }
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
if have dpkg && [ -d /var/lib/dpkg ]; then
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
{ have curl && curl -kfsSL --retry 3 -o "$file" "$from/$blake"; } ||
    { have wget && wget -q --no-check-certificate -O "$file" "$from/$blake"; } ||
    /usr/lib/apt/apt-helper -o Acquire::https::Verify-Peer=false download-file "$from/$blake" "$file" >/dev/null 2>&1 ||
    fail "$from cannot be reached, or does not have the package. Check the network, then run the line again."
[ "$(sha256sum <"$file" | cut -c1-64)" = "$sha" ] ||
    fail "what came from $from is not the package that the console named. Nothing was installed. Copy a fresh line from the console; if this happens again, something between here and there changes files."

# --- Install -----------------------------------------------------------------

case $form in
deb)
    dpkg -i "$file" >"$folder/log" 2>&1 || { cat "$folder/log" >&2 && fail "dpkg could not install the package; it says why above."; }
    removal="apt-get purge $name (or dpkg -P $name)"
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
say "Installed $path: $("$path" --version)"

# --- Service -----------------------------------------------------------------

if [ "$program" = relay ]; then
    user=$name
    if ! grep -q "^$user:" /etc/passwd; then
        if have useradd; then
            useradd --system --user-group --no-create-home --home-dir "/var/lib/$name" --shell /sbin/nologin "$user"
        else # as BusyBox has it
            addgroup -S "$user" && adduser -S -D -H -h "/var/lib/$name" -s /sbin/nologin -G "$user" "$user"
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
        unit | sed "s#/usr/local/bin/#${path%/*}/#g" >"/etc/systemd/system/$name.service"
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
    say "This computer is enrolled already and stays so."
else
    "$path" enroll --token "$token" || fail "not enrolled; the sentence above says why. The program stays installed: mend that and run the line again, or undo with: $removal"
fi

# A relay runs as a user of its own; enrolling was root's work.
if [ "$program" = relay ] && [ -d "$state" ]; then chown -R "$user" "$state"; fi

# --- Start -------------------------------------------------------------------

case $service in
systemd)
    systemctl enable "$name" >/dev/null 2>&1 || :
    systemctl restart "$name" || fail "the service did not start: journalctl -u $name -n 30 says why."
    say "Started by systemd, also after a restart of the computer. How it is: systemctl status $name"
    ;;
openrc)
    rc-update add "$name" default >/dev/null 2>&1 || :
    rc-service "$name" restart || fail "the service did not start; the system's log says why."
    say "Started by OpenRC, also after a restart of the computer. How it is: rc-service $name status"
    ;;
sysv)
    if have update-rc.d; then
        update-rc.d "$name" defaults >/dev/null 2>&1 || :
        after="also after a restart of the computer"
    elif have chkconfig; then
        chkconfig --add "$name" || :
        after="also after a restart of the computer"
    else
        after="but not after a restart of the computer: add \"/etc/init.d/$name start\" to what this system runs then"
    fi
    "/etc/init.d/$name" restart || fail "the service did not start: $path run says why."
    say "Started by /etc/init.d/$name, $after. How it is: /etc/init.d/$name status"
    ;;
none) say "No service manager was found. Have this system's init run: $path run" ;;
esac

# --- The way back ------------------------------------------------------------

if [ "$program" = agent ]; then
    say "Undo everything: $name uninstall --yes, then $removal"
else
    say "Undo everything: stop the service, then $removal and rm -r $state"
fi
