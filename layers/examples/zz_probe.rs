#![allow(warnings, clippy::all)]
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::*;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use serde_json::{Value, json};
use std::time::Instant;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_bearer::jwks::*;
use tower_bearer::*;
struct P(String);
impl KeySource for P {
    fn fetch(&self) -> FetchFuture<'_> {
        let k = KeySet::from_jwks(self.0.as_bytes()).unwrap();
        Box::pin(async move { Ok(Fetched::keys(k)) })
    }
    fn supplies_issuer(&self) -> bool {
        true
    }
}
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public: RsaPublicKeyComponents<Vec<u8>> = key.public_key().into();
    let jwks = json!({"keys":[{"kty":"RSA","use":"sig","kid":"k1","n":B64.encode(&public.n),"e":B64.encode(&public.e)}]}).to_string();
    let t = "11111111-2222-3333-4444-555555555555";
    let mut claims = json!({"iss":format!("https://login.microsoftonline.com/{t}/v2.0"),"aud":t,"tid":t,"ver":"2.0","exp":4_000_000_000u64,"nbf":1_700_000_000,"iat":1_700_000_000,"oid":t,"sub":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","scp":"read user_impersonation","azp":t,"azpacr":"1","xms_cc":["cp1"],"name":"Alice Example","preferred_username":"alice@contoso.example","roles":["A","B"],"uti":"xxxxxxxxxxxxxxxxxxx","rh":"0.xxxxxxxxxxxxxxxxxxx","sid":t,"aio":"A".repeat(120),"groups":[t,t,t,t,t],"wids":[t,t],"acrs":["c1"],"ipaddr":"1.2.3.4","login_hint":"O.".to_string()+&"C".repeat(60),"email":"a@b.c","family_name":"x","given_name":"y","idtyp":"user","xms_st":{"sub":"xyz"}});
    let sign = |claims: &Value| {
        let m = format!(
            "{}.{}",
            B64.encode(json!({"alg":"RS256","typ":"JWT","kid":"k1"}).to_string()),
            B64.encode(claims.to_string())
        );
        let mut s = vec![0; key.public_modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            m.as_bytes(),
            &mut s,
        )
        .unwrap();
        format!("{m}.{}", B64.encode(s))
    };
    let token = sign(&claims);
    println!(
        "token {} bytes {} claims",
        token.len(),
        claims.as_object().unwrap().len()
    );
    let auth = AuthorityBuilder::entra(t)
        .key_source(P(jwks.clone()))
        .build()
        .unwrap();
    let api = auth.resource(t).unwrap();
    auth.ready().await;
    let keys = KeySet::from_jwks(jwks.as_bytes()).unwrap();
    let policy = api.policy();
    let n = 20000;
    // bare
    let spki = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, {
        use aws_lc_rs::encoding::AsDer;
        let d: aws_lc_rs::encoding::PublicKeyX509Der = key.public_key().as_der().unwrap();
        d.as_ref().to_vec()
    })
    .unwrap();
    let (m, s) = token.rsplit_once('.').unwrap();
    let s = B64.decode(s).unwrap();
    if std::env::var("PARSE").is_ok() {
        let bad = format!("{m}.{}", B64.encode(&s[..255]));
        for _ in 0..5000 {
            jwt::verify(&bad, &keys, &policy, 1_700_000_100).is_err();
        }
        return;
    }
    for round in 0..3 {
        let i = Instant::now();
        for _ in 0..n {
            spki.verify_sig(m.as_bytes(), &s).unwrap();
        }
        let bare = i.elapsed().as_nanos() / n;
        let i = Instant::now();
        for _ in 0..n {
            jwt::verify(&token, &keys, &policy, 1_700_000_100).unwrap();
        }
        let cold = i.elapsed().as_nanos() / n;
        let bad = format!("{m}.{}", B64.encode(&s[..255]));
        let i = Instant::now();
        for _ in 0..n {
            jwt::verify(&bad, &keys, &policy, 1_700_000_100).is_err();
        }
        let badt = i.elapsed().as_nanos() / n;
        println!(
            "bare {bare} cold {cold} ratio {:.3} parse-only(bad sig len) {badt}",
            cold as f64 / bare as f64
        );
    }
    let mut bare = service_fn(async |r: Request<()>| {
        Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let mut svc = ServiceBuilder::new()
        .layer(api.protect())
        .layer(RequireScopeLayer::new("read").unwrap())
        .service(bare.clone());
    let val = http::HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
    let n = 1_000_000u128;
    for _ in 0..3 {
        let i = Instant::now();
        for _ in 0..n {
            let r = Request::get("/")
                .header("authorization", val.clone())
                .body(())
                .unwrap();
            bare.ready().await.unwrap().call(r).await.unwrap();
        }
        let b = i.elapsed().as_nanos() / n;
        let i = Instant::now();
        for _ in 0..n {
            let r = Request::get("/")
                .header("authorization", val.clone())
                .body(())
                .unwrap();
            assert!(svc.ready().await.unwrap().call(r).await.unwrap().status() == 200);
        }
        let o = i.elapsed().as_nanos() / n;
        println!("bare svc {b} ns, ours hot {o} ns");
    }
}
