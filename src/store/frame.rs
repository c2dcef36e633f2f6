//! How records lie in a file that is only appended to: `length u32 | crc32 u32 | version u8 | payload`, integers
//! little-endian. The length counts what follows the checksum; the checksum is over the same bytes.

/// Bytes before the version byte.
pub(super) const HEADER_BYTES: usize = 8;
/// No record is larger; a length over this is damage.
pub(super) const RECORD_BYTES_MAX: usize = 16 << 20;

/// Room for length and checksum, and the version: what a payload is to be written behind.
pub(super) fn begin(version: u8) -> Vec<u8> {
    let mut frame = Vec::with_capacity(1024);
    frame.extend_from_slice(&[0; HEADER_BYTES]);
    frame.push(version);
    frame
}

/// Writes length and checksum into a frame.
pub(super) fn seal(mut frame: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(frame.len() - HEADER_BYTES).expect("a record is bounded by the request's size");
    let checksum = crc32fast::hash(&frame[HEADER_BYTES..]);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    frame
}

/// The bytes of the frame that starts `bytes`, header included, if it is whole and its checksum holds.
pub(super) fn frame(bytes: &[u8]) -> Option<&[u8]> {
    let length = frame_bytes(bytes)?;
    let frame = bytes.get(..length)?;
    let checksum = u32::from_le_bytes(frame[4..HEADER_BYTES].try_into().ok()?);
    (crc32fast::hash(&frame[HEADER_BYTES..]) == checksum).then_some(frame)
}

/// How long the frame that starts `bytes` says it is, header included.
pub(super) fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    (1..=RECORD_BYTES_MAX).contains(&length).then_some(length + HEADER_BYTES)
}
