//! TLS over a socket that never blocks: rustls with one provider (ring), given explicitly.

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::address::Endpoint;
use super::stream::TlsOptions;
use crate::error::{Error, ErrorKind, Result};

/// Ciphertext that waits to be written, at most: beyond it no plaintext is taken.
const OUTGOING: usize = 256 * 1024;

/// The TLS state of one connection.
#[derive(Debug)]
pub(super) struct Tls {
    session: ClientConnection,
    /// The peer has closed the socket.
    ended: bool,
    /// Decrypted bytes that rustls still holds.
    plaintext: usize,
}

impl Tls {
    /// A session that has not sent anything yet.
    pub(super) fn new(host: &str, options: &TlsOptions) -> Result<Self> {
        let name = options.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            Error::new(
                ErrorKind::Usage,
                format!("{name:?} is no name that a certificate can carry"),
            )
        })?;
        let config = Arc::new(config(options)?);
        let mut session = ClientConnection::new(config, name).map_err(|error| {
            Error::new(ErrorKind::Usage, "TLS cannot be set up").with_source(error)
        })?;
        session.set_buffer_limit(Some(OUTGOING));
        Ok(Self {
            session,
            ended: false,
            plaintext: 0,
        })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    pub(super) fn wants_write(&self) -> bool {
        self.session.wants_write()
    }

    pub(super) fn has_plaintext(&self) -> bool {
        self.plaintext > 0
    }

    /// Moves handshake records both ways as far as they go now.
    pub(super) fn step(&mut self, mut socket: impl Read + Write) -> io::Result<()> {
        self.send(&mut socket)?;
        if self.session.is_handshaking() {
            self.receive(&mut socket)?;
            self.send(&mut socket)?;
        }
        Ok(())
    }

    /// Takes plaintext and sends the records; counts plaintext. `WouldBlock` only if nothing was taken.
    pub(super) fn write(
        &mut self,
        mut socket: impl Write,
        bufs: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        let sent = self.send(&mut socket);
        let taken = match self.session.writer().write_vectored(bufs) {
            // Its buffer is full of records that the socket does not take.
            Ok(0) => return sent.and(Err(io::ErrorKind::WouldBlock.into())),
            Ok(taken) => taken,
            Err(error) => return Err(error),
        };
        match self.send(&mut socket) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(taken)
    }

    /// Reads plaintext; `Ok(0)` is the end, whether announced or not (the reply decoder knows if it came too early).
    pub(super) fn read(
        &mut self,
        mut socket: impl Read + Write,
        buf: &mut [u8],
    ) -> io::Result<usize> {
        loop {
            // First what waits to go: records that `write` left, answers to key updates. A full socket is waited for by
            // `wait`.
            match self.send(&mut socket) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            match self.session.reader().read(buf) {
                Ok(got) => {
                    self.plaintext = self.plaintext.saturating_sub(got);
                    return Ok(got);
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.plaintext = 0,
                Err(error) => return Err(error),
            }
            if self.ended {
                return Ok(0);
            }
            self.receive(&mut socket)?;
        }
    }

    fn send(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, socket: &mut (impl Read + Write)) -> io::Result<()> {
        loop {
            match self.session.read_tls(socket) {
                Ok(0) => {
                    self.ended = true;
                    if self.session.is_handshaking() {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    return Ok(());
                }
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        match self.session.process_new_packets() {
            Ok(state) => {
                self.plaintext = state.plaintext_bytes_to_read();
                Ok(())
            }
            Err(error) => {
                // The alert that tells the server why; its fate does not matter.
                let _best_effort = self.send(socket);
                Err(io::Error::new(io::ErrorKind::InvalidData, error))
            }
        }
    }
}

fn config(options: &TlsOptions) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(ErrorKind::Usage, "TLS cannot be set up").with_source(error))?;
    let builder = if options.insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        let roots = match &options.ca_certificates {
            Some(path) => roots_from(path)?,
            None => system_roots()?,
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Usage, "no usable root certificates").with_source(error)
            })?;
        builder.with_webpki_verifier(verifier)
    };
    match &options.client {
        None => Ok(builder.with_no_client_auth()),
        Some((certificates, key)) => {
            let chain = certificates_in(certificates)?;
            let key_text = read(key)?;
            let key = PrivateKeyDer::from_pem_slice(&key_text).map_err(|error| {
                Error::new(
                    ErrorKind::Usage,
                    format!("{}: no private key in PEM form", key.display()),
                )
                .with_source(error)
            })?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                Error::new(
                    ErrorKind::Usage,
                    "the client certificate and key cannot be used",
                )
                .with_source(error)
            })
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::io(format!("{}: cannot be read", path.display()), error))
}

fn certificates_in(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = read(path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            Error::new(
                ErrorKind::Usage,
                format!("{}: not a PEM file of certificates", path.display()),
            )
            .with_source(error)
        })?;
    if found.is_empty() {
        return Err(Error::new(
            ErrorKind::Usage,
            format!("{}: holds no certificate in PEM form", path.display()),
        ));
    }
    Ok(found)
}

fn roots_from(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_in(path)? {
        roots.add(certificate).map_err(|error| {
            Error::new(
                ErrorKind::Usage,
                format!(
                    "{}: holds a certificate that cannot be a root",
                    path.display()
                ),
            )
            .with_source(error)
        })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore> {
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _unusable) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        return Err(
            Error::new(ErrorKind::Usage, "the system has no root certificates")
                .with_hint("give the server's root with --cacert FILE"),
        );
    }
    Ok(roots)
}

#[cold]
pub(super) fn handshake_failed(endpoint: &Endpoint, error: io::Error) -> Error {
    let text = error.to_string();
    let failed = Error::new(
        ErrorKind::Destination,
        format!("TLS handshake with {endpoint} failed"),
    );
    let failed = match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => failed.with_hint(
            "the server closed the connection: does this port speak TLS (if not: redis:// instead of rediss://), and does it want a client certificate?",
        ),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => failed.with_hint(
            "does this port speak TLS? A server that does not may wait for more: try redis:// instead of rediss://",
        ),
        io::ErrorKind::InvalidData if text.contains("corrupt message") => {
            failed.with_hint("the port does not speak TLS: try redis:// instead of rediss://")
        }
        io::ErrorKind::InvalidData if text.contains("UnknownIssuer") => {
            failed.with_hint("the certificate's root is not trusted here: give it with --cacert FILE")
        }
        io::ErrorKind::InvalidData if text.contains("not valid for name") || text.contains("NotValidForName") => {
            failed.with_hint("the certificate carries another name: say it with --server-name NAME")
        }
        _ => failed,
    };
    failed.with_source(error)
}

/// Takes every certificate: what `--insecure` asks for.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
