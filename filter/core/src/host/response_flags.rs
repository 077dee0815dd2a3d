//! Envoy's response flags: what it has to say about a stream.

use std::fmt;

/// The flags of a stream, a bit each, in the order of `CoreResponseFlag`
/// (Envoy, `envoy/stream_info/stream_info.h`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFlags(pub u64);

/// Their short names, as access logs have them
/// (<https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#config-access-log-format-response-flags>).
const NAMES: [&str; 30] = [
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC",
    "URX", "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR",
    "UDO",
];

/// A response was cut short, by the upstream or by a time limit: UT, LR, UR,
/// UC, SI, UMSDR, DT, UPE.
const CUT_SHORT: u64 = 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 16 | 1 << 19 | 1 << 22 | 1 << 23;

/// UT: the proxy gave up waiting.
const TIMEOUT: u64 = 1 << 2;

/// LR, UR, UF, UC, UO, UPE: what became of the call upstream.
const OF_CALL: u64 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 23;

/// DC, DR: the client closed the connection, or reset the stream.
const LEFT_BY_CLIENT: u64 = 1 << 14 | 1 << 28;

impl ResponseFlags {
    /// Whether the proxy gave up waiting for the upstream, or its client did.
    pub fn is_cancelled(self) -> bool {
        self.0 & (TIMEOUT | LEFT_BY_CLIENT) != 0
    }

    /// Those that are about the call upstream.
    pub fn of_call(self) -> Self {
        Self(self.0 & OF_CALL)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the client went away.
    pub fn is_left_by_client(self) -> bool {
        self.0 & LEFT_BY_CLIENT != 0
    }

    /// Whether they say that a response was cut short.
    pub fn is_cut_short(self) -> bool {
        self.0 & CUT_SHORT != 0
    }
}

/// `UF,URX`; a flag that has no name here as the number of its bit.
impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for bit in (0..64).filter(|bit| self.0 >> bit & 1 != 0) {
            f.write_str(separator)?;
            match NAMES.get(bit) {
                Some(name) => f.write_str(name)?,
                None => write!(f, "{bit}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_read_as_in_access_logs() {
        for (bits, text) in [
            (0, ""),
            (1, "LH"),
            (1 << 5 | 1 << 15, "UF,URX"),
            (1 << 12, "UAEX"),
            (1 << 29, "UDO"),
            (1 << 40 | 1 << 8, "NR,40"),
        ] {
            assert_eq!(ResponseFlags(bits).to_string(), text);
        }
    }

    #[test]
    fn cut_short_are_the_ends_that_nobody_wished() {
        let cut_short: Vec<_> = (0..64)
            .map(|bit| ResponseFlags(1 << bit))
            .filter(|flags| flags.is_cut_short())
            .map(|flags| flags.to_string())
            .collect();
        assert_eq!(
            cut_short,
            ["UT", "LR", "UR", "UC", "SI", "UMSDR", "DT", "UPE"]
        );
    }
}
