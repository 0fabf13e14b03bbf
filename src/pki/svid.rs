//! Which leaves Sentry signs, and therefore what a CA must be good for.

use jiff::Timestamp;

use super::{Certificate, Profile, Refusal, Shown, verify};

/// The trust domain of every application whose Configuration names no other
/// (`dapr/pkg/sentry/server/validator/kubernetes/kubernetes.go`, `…/internal/common.go`). Sentry's own is the control
/// plane's alone.
const APPLICATIONS: &str = "public";

/// Since then the schedulers' etcd uses TLS, and Sentry gives the schedulers DNS names. 1.14.0 has neither
/// (`dapr/pkg/scheduler/server`).
const ETCD_TLS: (u32, u32, u32) = (1, 15, 0);

/// The names in one SVID: a SPIFFE ID, and DNS names for those that also serve others than workloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    pub(super) uris: [String; 1],
    pub(super) dns: Vec<String>,
}

/// The mesh whose Sentry signs.
#[derive(Debug, Clone, Copy)]
pub struct Signing<'a> {
    /// Sentry's `--trust-domain`.
    pub trust_domain: &'a str,
    /// The control plane's namespace.
    pub namespace: &'a str,
    /// The version of Dapr; unknown: everything that any version needs is asked for.
    pub dapr: Option<(u32, u32, u32)>,
}

impl Svid {
    /// The SVID of a workload that has no DNS names.
    pub fn new(id: impl Into<String>) -> Self {
        Self { uris: [id.into()], dns: Vec::new() }
    }
}

impl Signing<'_> {
    /// One SVID of each kind that is verified by `profile` (`dapr/pkg/sentry/server/server.go`). None: nobody verifies so
    /// in this version.
    pub fn svids(&self, profile: Profile) -> Vec<Svid> {
        let Self { trust_domain, namespace, dapr } = *self;
        let service = |name: &str, dns: Vec<String>| Svid {
            uris: [format!("spiffe://{trust_domain}/ns/{namespace}/dapr-{name}")],
            dns,
        };
        let etcd_tls = dapr.is_none_or(|version| version >= ETCD_TLS);
        let scheduler = etcd_tls.then(|| {
            let host = |ordinal| {
                format!("dapr-scheduler-server-{ordinal}.dapr-scheduler-server.{namespace}.svc.cluster.local")
            };
            service("scheduler", (0..3).map(host).collect())
        });
        let webhooks = [
            service("injector", vec![format!("dapr-sidecar-injector.{namespace}.svc")]),
            service("operator", vec![format!("dapr-webhook.{namespace}.svc")]),
        ];
        match profile {
            Profile::Spiffe => {
                [Svid::new(format!("spiffe://{APPLICATIONS}/ns/default/app")), service("placement", vec![])]
                    .into_iter()
                    .chain(webhooks)
                    .chain(scheduler)
                    .collect()
            }
            Profile::Webhook => webhooks.into(),
            Profile::EtcdPeer => scheduler.into_iter().collect(),
        }
    }

    /// How long a holder of `anchors` accepts every SVID that `chain[0]` signs, or why it refuses one even at `at`.
    pub fn until(
        &self,
        chain: &[Certificate],
        anchors: &[Certificate],
        profile: Profile,
        at: Timestamp,
    ) -> Result<Timestamp, Refusal> {
        verify(Shown::Synthetic(&self.svids(profile)), chain, anchors, profile, at)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::pki::testing::{Lab, now, permits, validity};

    const MESH: Signing<'_> = Signing { trust_domain: "cluster.local", namespace: "dapr-system", dapr: None };

    #[test]
    fn applications_are_public_and_services_belong_to_sentrys_own_trust_domain() {
        let names = |profile| MESH.svids(profile).into_iter().map(|Svid { uris: [id], dns }| (id, dns.join(" ")));
        let webhooks = [
            ("spiffe://cluster.local/ns/dapr-system/dapr-injector", "dapr-sidecar-injector.dapr-system.svc"),
            ("spiffe://cluster.local/ns/dapr-system/dapr-operator", "dapr-webhook.dapr-system.svc"),
        ];
        let own = |(id, dns): (&str, &str)| (id.to_owned(), dns.to_owned());
        assert!(names(Profile::Webhook).eq(webhooks.map(own)));
        let spiffe: Vec<_> = names(Profile::Spiffe).collect();
        assert!(spiffe.contains(&own(("spiffe://public/ns/default/app", ""))), "{spiffe:?}");
        assert!(webhooks.into_iter().all(|webhook| spiffe.contains(&own(webhook))), "{spiffe:?}");
        let (id, dns) = names(Profile::EtcdPeer).next().unwrap();
        assert_eq!(id, "spiffe://cluster.local/ns/dapr-system/dapr-scheduler");
        assert!(dns.ends_with(" dapr-scheduler-server-2.dapr-scheduler-server.dapr-system.svc.cluster.local"), "{dns}");
    }

    #[rstest]
    #[case(Some((1, 14, 0)), 0)]
    #[case(Some((1, 15, 0)), 1)]
    #[case(None, 1)]
    fn the_schedulers_etcd_asks_for_certificates_since_1_15(
        #[case] dapr: Option<(u32, u32, u32)>,
        #[case] svids: usize,
    ) {
        let mesh = Signing { dapr, ..MESH };
        assert_eq!(mesh.svids(Profile::EtcdPeer).len(), svids);
        assert_eq!(mesh.svids(Profile::Spiffe).len(), 4 + svids);
    }

    #[rstest]
    #[case::applications_too(&["cluster.local", "public"], true)]
    #[case::the_control_plane_alone(&["cluster.local"], false)]
    #[case::applications_alone(&["public"], false)]
    fn a_root_must_permit_both_trust_domains(#[case] domains: &'static [&'static str], #[case] accepted: bool) {
        let mut lab = Lab::new(1);
        let (root, key) = lab.odd(None, permits(6, domains));
        let issuer = lab.issuer(&root, &key);
        let until = MESH.until(&issuer.chain, &[root], Profile::Spiffe, now());
        assert_eq!(until.ok(), accepted.then_some(validity().not_after));
    }
}
