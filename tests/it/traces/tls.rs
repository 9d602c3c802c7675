//! A receiver with a certificate of a private authority, which wants one of its clients.

use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::receiver::Receiver;
use super::rig::{PROTOCOLS, Rig, assert_all, names, traces};
use crate::faults::front::fixture;
use crate::harness::wait_for;

pub(super) fn mutual_tls() -> RustlsConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(fixture("ca.crt")).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let certificate = CertificateDer::from_pem_file(fixture("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("server.key")).unwrap();
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    RustlsConfig::from_config(Arc::new(config))
}

#[tokio::test]
async fn a_private_authority_and_a_client_certificate_are_used() {
    let own = format!(
        "tls: {{ca_file: '{}', cert_file: '{}', key_file: '{}'}}",
        fixture("ca.crt"),
        fixture("client.crt"),
        fixture("client.key")
    );
    for protocol in PROTOCOLS {
        let receiver = Receiver::start_tls(mutual_tls());
        let mut rig = Rig::new(names(0, 5));
        rig.start(traces(protocol, &receiver.url(), &own, 20_000));
        rig.empty().await;
        assert_all(&receiver, names(0, 5));
    }
}

#[tokio::test]
async fn without_them_nothing_is_sent_and_nothing_is_lost() {
    let without_client = format!("tls: {{ca_file: '{}'}}", fixture("ca.crt"));
    for (protocol, tls) in PROTOCOLS.iter().flat_map(|protocol| [(protocol, ""), (protocol, &*without_client)]) {
        let receiver = Receiver::start_tls(mutual_tls());
        let mut rig = Rig::new(names(0, 5));
        rig.start(traces(protocol, &receiver.url(), tls, 2_000));
        let waited = tokio::time::timeout(std::time::Duration::from_millis(1_500), async {
            wait_for("spans that leave", || async { (rig.status().length < 5).then_some(()) }).await;
        });
        assert!(waited.await.is_err());
        assert!(receiver.seen().is_empty());
    }
}
