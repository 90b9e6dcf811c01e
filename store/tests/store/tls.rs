//! TLS at the store: with the right certificates, without them, and with ones that change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::process::{PATIENCE, Process};
use crate::support::{PUSH_1, call, push};

/// A CA and what it signs.
struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
struct Signed {
    certificate: String,
    key: String,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn sign(&self) -> Signed {
        let params = CertificateParams::new(["store.internal".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Signed { certificate, key: key.serialize_pem() }
    }
}

struct Files {
    directory: tempfile::TempDir,
    ca: Ca,
}

impl Files {
    fn new() -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap(), ca: Ca::new() };
        files.write("ca.pem", &files.ca.pem);
        files.install(&files.ca.sign());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn install(&self, signed: &Signed) {
        self.write("store.key", &signed.key);
        self.write("store.pem", &signed.certificate);
    }

    async fn start(&self, mutual: bool) -> Process {
        let [cert, key, ca] = ["store.pem", "store.key", "ca.pem"].map(|name| self.path(name).display().to_string());
        let mut flags = vec!["--tls-cert", &cert, "--tls-key", &key];
        if mutual {
            flags.extend(["--client-ca", &ca]);
        }
        Process::start(&self.path("store.sqlite3"), &flags).await
    }
}

/// Pushes a call as a client that trusts `ca` and shows `own`, over HTTP/1.1; the status, or why there is none.
async fn pushed(process: &Process, ca: &Ca, own: Option<&Signed>) -> Result<u16, String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(Signed { certificate, key }) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            builder
                .with_client_auth_cert(vec![certificate], PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
                .unwrap()
        }
    };
    let exchange = async {
        let stream = TcpStream::connect(process.address).await.map_err(|error| error.to_string())?;
        let name = ServerName::try_from("store.internal").unwrap();
        let stream =
            TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let connection = tokio::spawn(connection);
        let request = hyper::Request::post("/v1/pushes").header("host", "store.internal");
        let body = Full::<Bytes>::from(push(PUSH_1, vec![call("session")]).to_string());
        let request = request.header("content-type", "application/json").body(body).unwrap();
        let response = sender.send_request(request).await.map_err(|error| format!("{error:?}"))?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["calls"][0]["verdict"], "claimed");
        drop(sender);
        let _ = connection.await;
        Ok(status)
    };
    timeout(PATIENCE, exchange).await.unwrap()
}

#[tokio::test]
async fn p7_a_store_with_tls_answers_who_trusts_its_ca_and_nobody_in_plain() {
    let files = Files::new();
    let process = files.start(false).await;
    assert_eq!(pushed(&process, &files.ca, None).await, Ok(200));
    let error = pushed(&process, &Ca::new(), None).await.unwrap_err();
    assert!(error.contains("invalid peer certificate"), "{error}");
    process.request("GET", "/v1/calls", &Value::Null).await.unwrap_err();
    let log = process.stop().await;
    assert!(log.contains("a TLS handshake failed"), "{log}");
}

#[tokio::test]
async fn p7_a_store_with_a_client_ca_refuses_clients_without_its_certificate() {
    let files = Files::new();
    let process = files.start(true).await;
    assert_eq!(pushed(&process, &files.ca, Some(&files.ca.sign())).await, Ok(200));
    let error = pushed(&process, &files.ca, None).await.unwrap_err();
    assert!(error.contains("CertificateRequired"), "{error}");
    let stranger = Ca::new().sign();
    let error = pushed(&process, &files.ca, Some(&stranger)).await.unwrap_err();
    assert!(
        error.contains("UnknownCA") || error.contains("UnknownIssuer") || error.contains("DecryptError"),
        "{error}"
    );
    // It serves those it knows all the same.
    assert_eq!(pushed(&process, &files.ca, Some(&files.ca.sign())).await, Ok(200));
}

#[tokio::test]
async fn a_certificate_that_changes_is_used_without_a_restart_and_a_broken_one_is_not() {
    let files = Files::new();
    let mut process = files.start(false).await;
    files.write("store.pem", "half a certificate");
    process.logged("the earlier ones stay in use").await;
    assert_eq!(pushed(&process, &files.ca, None).await, Ok(200));
    let next = Ca::new();
    files.install(&next.sign());
    process.logged("new connections use them").await;
    assert_eq!(pushed(&process, &next, None).await, Ok(200));
}

#[tokio::test]
async fn tls_files_that_cannot_be_used_are_named_at_the_start() {
    let files = Files::new();
    files.write("empty.pem", "");
    files.write("other.key", &files.ca.sign().key);
    for (cert, key, expected) in [
        ("absent.pem", "store.key", "--tls-cert: "),
        ("empty.pem", "store.key", "holds no certificate as PEM"),
        ("store.pem", "empty.pem", "holds no private key as PEM"),
        ("store.pem", "other.key", "do not fit together"),
    ] {
        let [data, cert, key] = ["store.sqlite3", cert, key].map(|name| files.path(name));
        let log = refusal(&data, &cert, &key).await;
        assert!(log.contains(expected), "{log}");
    }
}

async fn refusal(data: &Path, cert: &Path, key: &Path) -> String {
    let mut command = crate::process::command(data, &[]);
    command.arg("--tls-cert").arg(cert).arg("--tls-key").arg(key);
    let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}
