//! Client certificates under TLS: any is taken whose key the client proves to have. Nobody needs to have vouched for it, as it stands for an
//! access token by its own hash.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// Asks for a certificate, takes none for an answer, and checks that who shows one has its key.
#[derive(Debug)]
pub(crate) struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyCertificate {
    pub(crate) fn new(provider: &CryptoProvider) -> Self {
        Self { algorithms: provider.signature_verification_algorithms }
    }
}

impl ClientCertVerifier for AnyCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::ResolvesClientCert;
    use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::sign::CertifiedKey;
    use rustls::version::{TLS12, TLS13};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

    use super::*;

    struct Party {
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    }

    fn party() -> Party {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        Party { certificate: made.cert.der().clone(), key }
    }

    /// Shows a certificate with a key, whether they belong together or not.
    #[derive(Debug)]
    struct Shows(Arc<CertifiedKey>);

    impl ResolvesClientCert for Shows {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    /// Which certificate the server has of a client that shows this.
    fn seen(
        shown: Option<(&Party, &Party)>,
        version: &'static rustls::SupportedProtocolVersion,
    ) -> Result<Option<Vec<u8>>, Error> {
        let provider = Arc::new(default_provider());
        let own = party();
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])?
            .with_client_cert_verifier(Arc::new(AnyCertificate::new(&provider)))
            .with_single_cert(vec![own.certificate.clone()], own.key.clone_key())?;
        let mut roots = RootCertStore::empty();
        roots.add(own.certificate)?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])?
            .with_root_certificates(roots);
        let client = match shown {
            None => client.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = any_supported_type(&key.key)?;
                let pair = CertifiedKey::new(vec![certificate.certificate.clone()], key);
                client.with_client_cert_resolver(Arc::new(Shows(Arc::new(pair))))
            }
        };
        let mut client = ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap())?;
        let mut server = ServerConnection::new(Arc::new(server))?;
        for _ in 0..10 {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        assert!(!server.is_handshaking());
        Ok(server.peer_certificates().and_then(<[_]>::first).map(|certificate| certificate.to_vec()))
    }

    #[test]
    fn a_certificate_counts_for_who_has_its_key_and_nobody_needs_one() {
        let (ann, eve) = (party(), party());
        for version in [&TLS12, &TLS13] {
            assert_eq!(seen(None, version).unwrap(), None);
            assert_eq!(seen(Some((&ann, &ann)), version).unwrap(), Some(ann.certificate.to_vec()));
            assert!(seen(Some((&ann, &eve)), version).is_err());
        }
    }
}
