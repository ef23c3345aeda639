//! Two tokens that were really signed, by keys that nobody has any more.

pub(super) const ISSUER: &str = "https://issuer.example";
pub(super) const AUDIENCE: &str = "api";
/// The tokens last until 2033.
pub(super) const NOW: u64 = 1_800_000_000;

/// RS256 and EdDSA: neither has a second signature of the same message that a fuzzer could find, as ECDSA has.
pub(super) const TOKENS: [&str; 2] = [
    "\
    eyJhbGciOiJSUzI1NiIsInR5cCI6ImF0K2p3dCIsImtpZCI6InIifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoiYXB\
    pIiwic3ViIjoicyIsImV4cCI6MjAwMDAwMDAwMCwibmJmIjoxNzAwMDAwMDAwLCJpYXQiOjE3MDAwMDAwMDAsImNsaWVudF9pZCI6InNwYSIsI\
    nNjb3BlIjoicmVhZCB3cml0ZSJ9.YHJ66YFEJDU5jNEKti2GtxisCYy7lZNVLhMLOp9quNu6pnvCPbEyIE4vF-6-kVROb-bWdRX33j38FH7j7e\
    WaSFMVcm2xZhUyUfD8TOaWesZ05XqbT8RSHjS676S4YwyvyIKNHM0e-7TTZY1Q8yW_Eh6gd4hkkyRhGYb-xiWj3gbVNAmpKFmWl4owMqBAX3V5\
    fZTuXEVPAEVrRxyQQsQnKJZyyEj1aZORTmYq3jKRVjlDSu_vXzNPAJwGwE0blBDl0TyGVWmW4cfKDpqr6hJI-jTnZa1rDbJCxoawVlOZ9dOCYt\
    7eQyKJL1KuDYUtpJxzzEKpZcbHBPBWvpQAF7s5rw",
    "\
    eyJhbGciOiJFZERTQSIsImtpZCI6ImUifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoiYXBpIiwic3ViIjoicyIsImV\
    4cCI6MjAwMDAwMDAwMCwibmJmIjoxNzAwMDAwMDAwLCJpYXQiOjE3MDAwMDAwMDAsImNsaWVudF9pZCI6InNwYSIsInNjb3BlIjoicmVhZCB3c\
    ml0ZSJ9.zWXbJloEndtZWB1tIQMD56_QW9EBXoLXe--r19_ZLBPcRK0dP0Cf79C1rOJm1boD5fIbb6XxwpOX8dObrC4MAw",
];

/// Theirs, and two that signed nothing.
pub(super) const JWKS: &str = r#"{"keys":[{"kty":"RSA","kid":"r","use":"sig","alg":"RS256","n":"1zEmTfTTaXiY-41TvoIvqYq4N8fAIILWczJw211ldDHBRQunMEZGiZ4zqguzJgZQx--1EJpN-8J6NB_r9MJ6sSJ-WlVt5AvmzvV4Ii8RRDCjq8ubZO3tWwFuRqh_tVHN9ygPO1zg1o2c6i2YMmzBwQabGuDmP8-SR2KwHlJvEWqnj1lUt6IJ87S23GdAslbhP_l2aYfXu52NTOmF5Mig65EKR_x8pm-Eqgjt0RTtA5qfYe3rYjB9yhaVjiuKE_pgP-6040RAGi81ygPhUg2x3X8A8GX_Jg_qYy8Y0Ep92aNgnh6Cs0HhoO0flauW0RaG6SszRSnFMfwmcJQ9oJBH-Q","e":"AQAB"},{"kty":"OKP","crv":"Ed25519","kid":"e","alg":"EdDSA","x":"iZgE-ES6LPkz5JKu0oMalsbEgqNLESsz3rXHgUpAOGU"},{"kty":"EC","crv":"P-256","kid":"p","x":"0YicvSVbWTVhxolBu46tjLKJEH6V_9diRiee4GDsexM","y":"MTuQdNRhBwUY6rLYq3pCpOWP-pH-b6VP_adTA6nleKQ"},{"kty":"EC","crv":"P-384","kid":"q","key_ops":["verify"],"x":"4yQleSofQE7DW5ORtQcs7OGemVWkrLGoy6o7h-siBxlRPaHDorkY_XLlOpb2R8Ag","y":"QX0k4nWy_UL94KHx0GQgw95pGrpOljwCKlpWXDIsCmR0qzVSH_D2Cw16RnsGc5eq"}]}"#;
