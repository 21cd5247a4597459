//! The site's certificate authority: issues the relay's own certificate and
//! those of agents, without the cloud.
//!
//! An agent's certificate carries its device id twice, as common name and as
//! the URI `unifyit:device:<id>`; both must agree. Of a certificate request
//! only the key is taken: names, lifetimes and rights are ours.

use super::{IdentityError, folder::StateFolder};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use std::{fmt, net::IpAddr, str::FromStr};
use time::{Duration, OffsetDateTime};
use unifyit_protocol::ids::DeviceId;
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};
use zeroize::Zeroizing;

const KEY_FILE: &str = "ca.key";
const CERTIFICATE_FILE: &str = "ca.der";
const YEARS: i64 = 10;
/// A device's clock may be behind; certificates hold from a day ago.
pub(crate) const BACKDATE: Duration = Duration::DAY;
/// The relay's own is also met by agents and browsers whose clock is far behind.
const SERVER_BACKDATE: Duration = Duration::days(400);
/// Longest certificate request that is read, in bytes.
pub const MAX_REQUEST: usize = 8 * 1024;
const URI_PREFIX: &str = "unifyit:device:";

/// Why a certificate request was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefused {
    /// Not readable, or of a key that is not supported.
    #[error("the certificate request cannot be read: {0}")]
    Unreadable(String),
    /// The requester does not hold the key.
    #[error("the certificate request is not signed by its own key")]
    NotSigned,
    /// The authority failed.
    #[error("the certificate could not be issued: {0}")]
    NotIssued(String),
}

/// The authority.
pub struct SiteCa {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    fingerprint: [u8; 32],
}

impl fmt::Debug for SiteCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteCa({:02x}{:02x}…)", self.fingerprint[0], self.fingerprint[1])
    }
}

impl SiteCa {
    /// Loads the authority, or makes it where there is none yet.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn load_or_make(folder: &StateFolder, now: OffsetDateTime) -> Result<Self, IdentityError> {
        if folder.read_sealed(KEY_FILE)?.is_some() {
            return Self::load(folder);
        }
        // A certificate without its key was never told to anybody: the key is
        // written last.
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let certificate = authority(now).self_signed(&key).map_err(failed)?;
        folder.write(CERTIFICATE_FILE, certificate.der())?;
        folder.write_sealed(KEY_FILE, &Zeroizing::new(key.serialize_der()))?;
        Self::of(key, certificate.der().clone())
    }

    /// Loads the authority that is there.
    ///
    /// # Errors
    /// [`IdentityError`] when a part of it is missing or damaged.
    pub fn load(folder: &StateFolder) -> Result<Self, IdentityError> {
        let key = folder.read_sealed(KEY_FILE)?.ok_or(IdentityError::Damaged(KEY_FILE))?;
        let certificate =
            folder.read(CERTIFICATE_FILE)?.ok_or(IdentityError::Damaged(CERTIFICATE_FILE))?;
        let key = key_pair(&key).map_err(|_| IdentityError::Damaged(KEY_FILE))?;
        Self::of(key, CertificateDer::from(certificate))
    }

    fn of(key: KeyPair, certificate: CertificateDer<'static>) -> Result<Self, IdentityError> {
        let fingerprint = sha256(&certificate);
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|_| IdentityError::Damaged(CERTIFICATE_FILE))?;
        Ok(Self { issuer, certificate, fingerprint })
    }

    /// The authority's certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of the certificate in DER.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Issues a device's client certificate for the key of a request.
    ///
    /// # Errors
    /// [`RequestRefused`].
    pub fn issue_agent(
        &self,
        request: &[u8],
        device: DeviceId,
        days: u32,
        now: OffsetDateTime,
    ) -> Result<CertificateDer<'static>, RequestRefused> {
        self.issue_agent_for(request, device, Duration::days(days.into()), now)
    }

    /// As [`Self::issue_agent`], for any length of life.
    ///
    /// # Errors
    /// [`RequestRefused`].
    pub fn issue_agent_for(
        &self,
        request: &[u8],
        device: DeviceId,
        life: Duration,
        now: OffsetDateTime,
    ) -> Result<CertificateDer<'static>, RequestRefused> {
        if request.len() > MAX_REQUEST {
            return Err(RequestRefused::Unreadable(format!(
                "it is longer than {MAX_REQUEST} bytes"
            )));
        }
        let request =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request))
                .map_err(|e| match e {
                    rcgen::Error::InvalidCertificationRequestSignature => RequestRefused::NotSigned,
                    other => RequestRefused::Unreadable(other.to_string()),
                })?;
        let not_issued = |e: rcgen::Error| RequestRefused::NotIssued(e.to_string());
        let uri = format!("{URI_PREFIX}{device}");
        let mut params = leaf(&device.to_string(), now, life);
        params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(not_issued)?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate =
            params.signed_by(&request.public_key, &self.issuer).map_err(not_issued)?;
        Ok(certificate.der().clone())
    }

    /// Issues this relay's own server certificate with a fresh key.
    ///
    /// # Errors
    /// [`IdentityError::Certificate`].
    pub fn issue_server(
        &self,
        names: &[String],
        days: u32,
        now: OffsetDateTime,
    ) -> Result<CertifiedKey, IdentityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = leaf("UnifyIT site relay", now, Duration::days(days.into()));
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName(name.as_str().try_into().map_err(failed)?),
            });
        }
        params.not_before = now - SERVER_BACKDATE;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing =
            any_supported_type(&der).map_err(|e| IdentityError::Certificate(e.to_string()))?;
        let chain = vec![certificate.der().clone(), self.certificate.clone()];
        Ok(CertifiedKey::new(chain, signing))
    }
}

/// Which device a verified client certificate names. Both places must agree.
#[must_use]
pub fn device_of(certificate: &[u8]) -> Option<DeviceId> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?;
    let device = DeviceId::from_str(name).ok().filter(|d| d.to_string() == name)?;
    (names.next().is_none() && has_uri(&certificate, device)).then_some(device)
}

/// What a verified client certificate proves, beside the device's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// SHA-256 of its public key (SubjectPublicKeyInfo): a renewal keeps it.
    pub key: [u8; 32],
    /// Since when the certificate is valid, Unix seconds: of two keys, the one that
    /// was certified later replaces the other.
    pub since_s: i64,
}

/// Which device a verified client certificate names, and whose key it certifies.
#[must_use]
pub fn proof_of(certificate: &[u8]) -> Option<(DeviceId, Proof)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let key = sha256(parsed.public_key().raw);
    let since_s = parsed.validity().not_before.timestamp();
    Some((device_of(certificate)?, Proof { key, since_s }))
}

/// First and last moment of a certificate, Unix seconds.
#[must_use]
pub fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = certificate.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

fn has_uri(certificate: &X509Certificate<'_>, device: DeviceId) -> bool {
    let expected = format!("{URI_PREFIX}{device}");
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
    matches!(names.value.general_names.as_slice(), [GeneralName::URI(uri)] if *uri == expected)
}

fn failed(error: rcgen::Error) -> IdentityError {
    IdentityError::Certificate(error.to_string())
}

fn key_pair(pkcs8: &[u8]) -> Result<KeyPair, rcgen::Error> {
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(pkcs8), &PKCS_ECDSA_P256_SHA256)
}

fn authority(now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "UnifyIT site authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - BACKDATE;
    params.not_after = now + Duration::days(365 * YEARS + 3);
    params.serial_number = Some(serial());
    params
}

fn leaf(name: &str, now: OffsetDateTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    // A short life must not be over by two thirds when it begins.
    params.not_before = now - BACKDATE.min(life);
    params.not_after = now + life;
    params.serial_number = Some(serial());
    params
}

fn serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    // A serial number is positive and has no leading zero.
    bytes[0] = (bytes[0] & 0x7f) | 0x40;
    SerialNumber::from_slice(&bytes)
}
