//! What an inference node keeps of each call: request, answer, receipt and salt.
//!
//! A transcript is durable before its receipt is settled, so a call that was paid for can always be
//! answered again, and a verifier can replay it. It is dropped after the configured time.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use minicbor::{Decode, Encode};
use nabla_types::{PaymentId, ReceiptId, api::INFER_BYTES_MAX, cbor, receipt::Salt};

use crate::{Error, clock::now_ms, files::write_new};

/// Largest encoded transcript, in bytes: a request, an answer and a receipt.
pub(crate) const TRANSCRIPT_BYTES_MAX: usize = 2 * INFER_BYTES_MAX + (64 << 10);

/// Everything about one call that its provider knows.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(crate) struct Transcript {
    /// The request, byte for byte.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub(crate) request: Vec<u8>,
    /// The answer, byte for byte.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub(crate) response: Vec<u8>,
    /// The COSE receipt.
    #[n(2)]
    #[cbor(with = "minicbor::bytes")]
    pub(crate) receipt: Vec<u8>,
    /// What opens its commitments.
    #[n(3)]
    pub(crate) salt: Salt,
}

/// A folder of transcripts, by payment and by receipt.
#[derive(Debug)]
pub(crate) struct Transcripts {
    folder: PathBuf,
}

impl Transcripts {
    pub(crate) fn open(folder: PathBuf, hours: u32) -> Result<Self, Error> {
        fs::create_dir_all(&folder).map_err(|source| Error::io("create folder", &folder, source))?;
        let transcripts = Self { folder };
        transcripts.prune(hours)?;
        Ok(transcripts)
    }

    /// Drop what is older than `hours`, and temporary files of a process that was killed.
    pub(crate) fn prune(&self, hours: u32) -> Result<(), Error> {
        let oldest = UNIX_EPOCH
            + Duration::from_millis(now_ms()).saturating_sub(Duration::from_secs(u64::from(hours) * 3600));
        let entries = fs::read_dir(&self.folder).map_err(|source| Error::io("list", &self.folder, source))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            let modified = path.metadata().and_then(|data| data.modified()).ok();
            let stale = modified.is_some_and(|modified| modified < oldest);
            if stale || path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(&path).map_err(|source| Error::io("remove", &path, source))?;
            }
        }
        Ok(())
    }

    fn by_payment(&self, payment: PaymentId) -> PathBuf {
        self.folder.join(format!("{payment}.payment"))
    }

    fn by_receipt(&self, receipt: ReceiptId) -> PathBuf {
        self.folder.join(format!("{receipt}.receipt"))
    }

    /// Keep a transcript; on return it is durable.
    pub(crate) fn put(
        &self,
        payment: PaymentId,
        receipt: ReceiptId,
        transcript: &Transcript,
    ) -> Result<(), Error> {
        write_new(&self.by_receipt(receipt), payment.to_string().as_bytes())?;
        write_new(&self.by_payment(payment), &cbor::encode(transcript))
    }

    pub(crate) fn of_payment(&self, payment: PaymentId) -> Result<Option<Transcript>, Error> {
        let path = self.by_payment(payment);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let bad = |reason: String| Error::BadFile { path, expected: "a transcript", reason };
        cbor::decode("transcript", &bytes, TRANSCRIPT_BYTES_MAX)
            .map(Some)
            .map_err(|error| bad(error.to_string()))
    }

    pub(crate) fn of_receipt(&self, receipt: ReceiptId) -> Result<Option<Transcript>, Error> {
        let path = self.by_receipt(receipt);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let payment = text.trim().parse().map_err(|error: nabla_types::id::IdError| Error::BadFile {
            path,
            expected: "the payment of a receipt",
            reason: error.to_string(),
        })?;
        self.of_payment(payment)
    }

    /// Forget a call that was not paid for in the end.
    pub(crate) fn remove(&self, payment: PaymentId) {
        if let Err(error) = fs::remove_file(self.by_payment(payment)) {
            tracing::warn!(%payment, %error, "transcript not removed");
        }
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("read", path, source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_found_and_pruned() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let transcripts = Transcripts::open(dir.path().join("t"), 1).expect("a new folder");
        let (payment, receipt) = (PaymentId([1; 32]), ReceiptId([2; 32]));
        let transcript = Transcript {
            request: b"q".to_vec(),
            response: b"a".to_vec(),
            receipt: b"r".to_vec(),
            salt: Salt([3; 32]),
        };
        transcripts.put(payment, receipt, &transcript).expect("written");
        assert_eq!(transcripts.of_payment(payment).expect("read"), Some(transcript.clone()));
        assert_eq!(transcripts.of_receipt(receipt).expect("read"), Some(transcript));
        transcripts.prune(1).expect("nothing is an hour old");
        assert!(transcripts.of_payment(payment).expect("read").is_some());
        let file = fs::File::options().write(true).open(transcripts.by_payment(payment)).expect("its file");
        file.set_modified(UNIX_EPOCH).expect("a file can be made old");
        transcripts.prune(1).expect("what is old goes");
        assert!(transcripts.of_payment(payment).expect("read").is_none());
    }
}
