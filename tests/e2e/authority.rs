//! Certificates that do not come from `mtls`: those of Dapr's openssl recipe, and a CA that has expired.

use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use time::{Duration, OffsetDateTime};

use crate::lab::Lab;

/// What Secret and `ConfigMap` carry.
pub struct Trio {
    pub root: String,
    pub issuer: String,
    pub key: String,
}

impl Trio {
    /// Writes it into files of the test and returns the flags that give them.
    pub fn flags(&self, lab: &Lab, name: &str) -> Vec<String> {
        let files = [
            ("--ca-root-certificate", "root.pem", &self.root),
            ("--issuer-public-certificate", "pem", &self.issuer),
            ("--issuer-private-key", "key", &self.key),
        ];
        let flags = files.map(|(flag, end, text)| {
            let file = lab.path(&format!("{name}.{end}"));
            std::fs::write(&file, text).expect("a file can be written");
            [flag.to_owned(), file]
        });
        flags.concat()
    }
}

/// A root and issuers as the page "Setup & configure mTLS certificates" of Dapr's documentation makes them: all of
/// one Subject, the issuer with a path length of 0.
pub struct Recipe<'a> {
    lab: &'a Lab,
}

impl<'a> Recipe<'a> {
    /// Makes the root: `root.key`, `root.pem`.
    pub fn root(lab: &'a Lab) -> Self {
        let recipe = Self { lab };
        recipe.configuration("root.conf", "basicConstraints = critical, CA:true");
        recipe.configuration("issuer.conf", "basicConstraints = critical, CA:true, pathlen:0");
        recipe.key("root.key");
        recipe.request("root");
        openssl(
            lab,
            &[
                "x509",
                "-req",
                "-sha256",
                "-days",
                "365",
                "-in",
                "root.csr",
                "-signkey",
                "root.key",
                "-outform",
                "PEM",
                "-out",
                "root.pem",
                "-extfile",
                "root.conf",
                "-extensions",
                "v3_req",
            ],
        );
        recipe
    }

    /// Makes an issuer under the root: `NAME.key`, `NAME.pem`.
    pub fn issuer(&self, name: &str) {
        self.key(&format!("{name}.key"));
        self.request(name);
        let (csr, pem) = (format!("{name}.csr"), format!("{name}.pem"));
        openssl(
            self.lab,
            &[
                "x509",
                "-req",
                "-in",
                &csr,
                "-CA",
                "root.pem",
                "-CAkey",
                "root.key",
                "-CAcreateserial",
                "-outform",
                "PEM",
                "-out",
                &pem,
                "-days",
                "365",
                "-sha256",
                "-extfile",
                "issuer.conf",
                "-extensions",
                "v3_req",
            ],
        );
    }

    /// The flags that give this root and the issuer `name`.
    pub fn flags(&self, name: &str) -> Vec<String> {
        let pairs = [
            ("--ca-root-certificate", "root.pem".to_owned()),
            ("--issuer-public-certificate", format!("{name}.pem")),
            ("--issuer-private-key", format!("{name}.key")),
        ];
        pairs.iter().flat_map(|(flag, file)| [(*flag).to_owned(), self.lab.path(file)]).collect()
    }

    fn key(&self, name: &str) {
        openssl(self.lab, &["ecparam", "-genkey", "-name", "prime256v1", "-out", "with-parameters"]);
        openssl(self.lab, &["ec", "-in", "with-parameters", "-out", name]);
    }

    fn request(&self, name: &str) {
        let (key, csr) = (format!("{name}.key"), format!("{name}.csr"));
        let conf = if name == "root" { "root.conf" } else { "issuer.conf" };
        openssl(
            self.lab,
            &["req", "-new", "-nodes", "-sha256", "-key", &key, "-out", &csr, "-config", conf, "-extensions", "v3_req"],
        );
    }

    fn configuration(&self, name: &str, constraints: &str) {
        let text = format!(
            "[req]\ndistinguished_name = req_distinguished_name\nx509_extensions = v3_req\nprompt = no\n\
             [req_distinguished_name]\nC = US\nST = VA\nL = Daprville\nO = dapr.io/sentry\nOU = dapr.io/sentry\nCN = cluster.local\n\
             [v3_req]\n{constraints}\nkeyUsage = critical, digitalSignature, cRLSign, keyCertSign\nsubjectAltName = @alt_names\n\
             [alt_names]\nDNS.1 = cluster.local\n"
        );
        std::fs::write(self.lab.path(name), text).expect("a file can be written");
    }
}

/// A root and an issuer in upstream's shape whose validity ended, or ends, at `end`.
pub fn ends(end: OffsetDateTime) -> Trio {
    let [trio, _] = two_under_one_root(end);
    trio
}

/// Two issuers under one root, as [`ends`] makes them.
pub fn two_under_one_root(end: OffsetDateTime) -> [Trio; 2] {
    let root_key = key();
    let root = authority("cluster.local", end).self_signed(&root_key).expect("a root can be made").pem();
    let signer = Issuer::new(authority("cluster.local", end), root_key);
    [(), ()].map(|()| {
        let key = key();
        let issuer = authority("spiffe://cluster.local/ns/dapr-system/dapr-sentry", end);
        let issuer = issuer.signed_by(&key, &signer).expect("an issuer can be made").pem();
        Trio { root: root.clone(), issuer, key: key.serialize_pem() }
    })
}

/// An identity without rights.
pub const CANARY: &str = "spiffe://cluster.local/ns/none/canary";

/// Makes a leaf of an identity, valid for a day, under the first certificate of `chain`: `leaf.pem`, `leaf.key`.
pub fn leaf(lab: &Lab, identity: &str, chain: &str, issuer_key: &str) {
    let extensions = format!("keyUsage = critical, digitalSignature\nsubjectAltName = critical, URI:{identity}\n");
    for (name, text) in [("signer.pem", chain), ("signer.key", issuer_key), ("leaf.conf", &extensions)] {
        std::fs::write(lab.path(name), text).expect("a file can be written");
    }
    openssl(lab, &["ecparam", "-genkey", "-noout", "-name", "prime256v1", "-out", "leaf.key"]);
    openssl(lab, &["req", "-new", "-key", "leaf.key", "-subj", "/", "-out", "leaf.csr"]);
    let signer = ["-CA", "signer.pem", "-CAkey", "signer.key", "-CAcreateserial", "-days", "1"];
    let files = ["x509", "-req", "-in", "leaf.csr", "-extfile", "leaf.conf", "-out", "leaf.pem"];
    openssl(lab, &[&files[..], &signer].concat());
}

#[track_caller]
fn openssl(lab: &Lab, args: &[&str]) {
    let out = Command::new("openssl").args(args).current_dir(lab.path("")).output().expect("openssl is installed");
    assert!(out.status.success(), "openssl {}: {}", args.join(" "), String::from_utf8_lossy(&out.stderr));
}

/// A day ago, for what has expired.
pub fn yesterday() -> OffsetDateTime {
    OffsetDateTime::now_utc() - Duration::days(1)
}

/// So many hours from now.
pub fn from_now(hours: i64) -> OffsetDateTime {
    OffsetDateTime::now_utc() + Duration::hours(hours)
}

/// An unrelated root, valid for a year.
pub fn stranger() -> String {
    ends(OffsetDateTime::now_utc() + Duration::days(365)).root
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key can be made")
}

fn authority(organization: &str, end: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.not_before = end.min(OffsetDateTime::now_utc()) - Duration::days(30);
    params.not_after = end;
    params
}
