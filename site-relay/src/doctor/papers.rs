//! Enrolment, grant and certificates.

use super::Finding;
use crate::{
    enroll::RelayRecord,
    identity::{IdentityError, Keys, ca},
};
use time::OffsetDateTime;
use unifyit_protocol::grant::{Grant, SiteCertificate};

/// Days before an end at which it is worth a word.
const SOON_DAYS: i64 = 30;

pub(super) fn enrolment(record: Option<&Result<Option<RelayRecord>, IdentityError>>) -> Finding {
    let check = "enrolment";
    match record {
        Some(Ok(Some(record))) => Finding::well(
            check,
            format!("relay {} of site {}", record.enrolment.relay, record.enrolment.site),
        ),
        Some(Err(error)) => Finding::ill(
            check,
            error.to_string(),
            "If the state folder was copied from another machine, enrol this one anew: unifyit-relay enroll --force --token …",
        ),
        _ => Finding::ill(
            check,
            "this relay is not enrolled",
            "Make a relay token in the console (Sites > Install) and run: unifyit-relay enroll --token …",
        ),
    }
}

pub(super) fn certificates(
    keys: &Result<Keys, IdentityError>,
    record: &RelayRecord,
    now: OffsetDateTime,
) -> Vec<Finding> {
    let keys = match keys {
        Ok(keys) => keys,
        Err(error) => {
            return vec![Finding::ill(
                "keys",
                error.to_string(),
                "Restore the state folder from a backup of this machine, or enrol anew.",
            )];
        }
    };
    let enrolment = &record.enrolment;
    let mut findings = Vec::new();
    let site: Option<SiteCertificate> =
        enrolment.site_certificate.verify(&enrolment.authority).ok();
    findings.push(match site {
        Some(site) if site.ca_fingerprint == keys.ca.fingerprint() => lifetime(
            "site authority",
            ca::validity(keys.ca.certificate()),
            now,
            "Agents trust this authority; plan a new enrolment of the site before it ends.",
        ),
        _ => Finding::ill(
            "site authority",
            "the organization has certified another authority than the one in the state folder",
            "Restore ca.der and ca.key from a backup, or enrol anew with --force.",
        ),
    });
    let grant: Option<Grant> = enrolment.grant.verify(&enrolment.authority).ok();
    findings.push(match grant {
        Some(grant) if grant.relay_key == keys.signer().public() => {
            let seconds = |ms: u64| i64::try_from(ms / 1000).unwrap_or(i64::MAX);
            let lasts = Some((seconds(grant.not_before_ms), seconds(grant.expires_ms)));
            lifetime("grant", lasts, now, "Without it the relay cannot sign local work. Run unifyit-relay enroll --force --token … while the cloud can be reached.")
        }
        _ => Finding::ill(
            "grant",
            "the grant is not for the key in the state folder",
            "Restore relay.key from a backup, or enrol anew with --force.",
        ),
    });
    findings
}

/// How far a lifetime is from its ends.
pub(super) fn lifetime(
    check: &'static str,
    lasts: Option<(i64, i64)>,
    now: OffsetDateTime,
    remedy: &str,
) -> Finding {
    let Some((from, to)) = lasts else {
        return Finding::ill(check, "its lifetime cannot be read", remedy);
    };
    let now = now.unix_timestamp();
    let days = (to - now) / 86_400;
    if now < from {
        Finding::ill(
            check,
            "it is not valid yet, so this machine's clock is behind",
            "Set the clock: timedatectl set-ntp true.",
        )
    } else if now >= to {
        Finding::ill(check, format!("it ended {} days ago", -days), remedy)
    } else if days < SOON_DAYS {
        Finding::warning(check, format!("it ends in {days} days"), remedy)
    } else {
        Finding::well(check, format!("valid for {days} more days"))
    }
}
