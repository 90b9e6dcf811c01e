//! TLS and mutual TLS: reads certificates, and reads them again when they change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

/// How often it is looked whether the files changed.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// The files of TLS, all PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The store's certificate, then those that lead from it to its CA.
    pub certificate: PathBuf,
    /// The key of the certificate.
    pub key: PathBuf,
    /// The CAs whose clients may connect; `None` lets everybody connect.
    pub client_ca: Option<PathBuf>,
}

/// What new connections are accepted with.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    first: Digests,
    current: RwLock<Arc<ServerConfig>>,
    /// When a refused handshake was logged last.
    said: Mutex<Option<Instant>>,
}

/// What a file holds, so that a change shows.
type Digests = [Option<[u8; 32]>; 3];

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, or they do not fit together.
    pub fn load(files: TlsFiles) -> anyhow::Result<Self> {
        // Taken before the files are read for use, so that a change in between is noticed.
        let first = digests(&files);
        let current = RwLock::new(Arc::new(config(&files)?));
        Ok(Self { files, first, current, said: Mutex::default() })
    }

    /// What accepts the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)).into()
    }

    /// Reads the files again whenever one changes. Files that do not fit together change nothing: most likely the other one is still
    /// being written. Never ends.
    pub async fn follow(self: Arc<Self>) {
        let mut used = self.first;
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            let files = self.files.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || digests(&files)).await else { continue };
            if now == used {
                continue;
            }
            used = now;
            match config(&self.files) {
                Ok(config) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                    tracing::info!("the certificates changed: new connections use them");
                }
                Err(error) => {
                    let error = format_args!("{error:#}");
                    tracing::error!(%error, "the certificates changed and cannot be used: the earlier ones stay in use");
                }
            }
        }
    }

    /// Logs why a client was refused, once a second at most.
    pub fn refused(&self, error: &dyn std::fmt::Display) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() >= Duration::from_secs(1)) {
            *said = Some(Instant::now());
            tracing::warn!(%error, "a TLS handshake failed (told once a second)");
        }
    }
}

fn config(files: &TlsFiles) -> anyhow::Result<ServerConfig> {
    let chain = certificates(&files.certificate, "--tls-cert")?;
    let place = || format!("--tls-key: {}", files.key.display());
    let key = fs::read(&files.key).with_context(|| format!("{} cannot be read", place()))?;
    let key =
        PrivateKeyDer::from_pem_slice(&key).with_context(|| format!("{} holds no private key as PEM", place()))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file, "--client-ca")? {
                let unusable = || format!("--client-ca: a certificate in {} cannot be used", file.display());
                roots.add(certificate).with_context(unusable)?;
            }
            builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?,
            )
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .with_context(|| format!("--tls-cert and {} do not fit together", place()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(file: &Path, flag: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let place = || format!("{flag}: {}", file.display());
    let pem = fs::read(file).with_context(|| format!("{} cannot be read", place()))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} is not well-formed PEM", place()))?;
    ensure!(!certificates.is_empty(), "{} holds no certificate as PEM", place());
    Ok(certificates)
}

fn digests(files: &TlsFiles) -> Digests {
    let files = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
    files.map(|file| Some(Sha256::digest(fs::read(file?).ok()?).into()))
}
