//! Frames of the files in the folder `PEER_MEDIA`. They are our own, made by ffmpeg: what is cut ends the list.

use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of an IVF file's header, and of each frame's.
const IVF_HEADER: usize = 32;
const IVF_FRAME: usize = 12;
/// Bytes of an Ogg page's header before its table of segments (RFC 3533, section 6).
const OGG_PAGE: usize = 27;

fn read(name: &str) -> Result<Vec<u8>, String> {
    let path = PathBuf::from(std::env::var_os("PEER_MEDIA").unwrap_or_else(|| ".".into())).join(name);
    std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
}

fn some(name: &str, frames: Vec<Arc<[u8]>>) -> Result<Vec<Arc<[u8]>>, String> {
    if frames.is_empty() { Err(format!("{name}: no frame in it")) } else { Ok(frames) }
}

/// Each frame: length, timestamp, data.
pub(crate) fn ivf(name: &str) -> Result<Vec<Arc<[u8]>>, String> {
    let bytes = read(name)?;
    let mut rest = bytes.get(IVF_HEADER..).unwrap_or_default();
    let mut frames = Vec::new();
    while let Some((header, after)) = rest.split_first_chunk::<IVF_FRAME>() {
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some((frame, after)) = after.split_at_checked(length) else { break };
        frames.push(Arc::from(frame));
        rest = after;
    }
    some(name, frames)
}

/// Pages of one packet each; the first two are headers of the stream.
pub(crate) fn ogg(name: &str) -> Result<Vec<Arc<[u8]>>, String> {
    let bytes = read(name)?;
    let mut rest = bytes.as_slice();
    let mut pages = Vec::new();
    while let Some((header, after)) = rest.split_first_chunk::<OGG_PAGE>() {
        let Some((segments, after)) = after.split_at_checked(header[OGG_PAGE - 1].into()) else { break };
        let length = segments.iter().map(|&one| usize::from(one)).sum();
        let Some((page, after)) = after.split_at_checked(length) else { break };
        pages.push(Arc::from(page));
        rest = after;
    }
    some(name, pages.split_off(pages.len().min(2)))
}
