//! Tenants, versions and clouds of Entra, and authorities side by side.

use super::*;
use crate::authority::{AuthorityBuilder, Cloud};

const OTHER: &str = "33333333-2222-3333-4444-55555555555a";
const FOREIGN: &str = "44444444-2222-3333-4444-555555555555";
/// The tenant of personal Microsoft accounts.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

fn policy(builder: AuthorityBuilder) -> Policy {
    let resource = builder.build().unwrap().resource(CLIENT).unwrap();
    resource.audience("api://x").unwrap().policy()
}

fn v2(tenant: &str) -> String {
    format!("https://login.microsoftonline.com/{tenant}/v2.0")
}

fn of_tenant(tenant: &str) -> Value {
    with(
        with(claims(), "tid", json!(tenant)),
        "iss",
        json!(v2(tenant)),
    )
}

/// Rows of claims against one policy.
fn check(world: &World, policy: &Policy, keys: &KeySet, rows: &[(&str, Value, bool)]) {
    for (name, claims, passes) in rows {
        let refused = verify(&world.sign(&header(), claims), keys, policy, NOW).err();
        let expected = (!passes).then_some(VerifyError::Issuer);
        assert_eq!(refused, expected, "{name}");
    }
}

#[test]
fn tenant_is_listed_and_the_one_in_the_issuer() {
    let world = world();
    let template = json!(v2("{tenantid}"));
    let keys = key_set(&[with(rsa_jwk(&world.key), "issuer", template)]);
    let listed = policy(AuthorityBuilder::entra_tenants([TENANT, OTHER]));
    let tid = |value: Value| with(claims(), "tid", value);
    let rows = [
        ("first", of_tenant(TENANT), true),
        ("second", of_tenant(OTHER), true),
        (
            "not listed, signed by the same key",
            of_tenant(FOREIGN),
            false,
        ),
        ("tid of another listed tenant", tid(json!(OTHER)), false),
        ("no tid", without(claims(), "tid"), false),
        ("tid in a list", tid(json!([TENANT])), false),
        ("tid that climbs", tid(json!(format!("../{TENANT}"))), false),
        ("the template itself", of_tenant("{tenantid}"), false),
        ("common", of_tenant("common"), false),
        ("upper case", of_tenant(&OTHER.to_ascii_uppercase()), false),
        (
            "issuer with a slash more",
            with(claims(), "iss", json!(v2(TENANT) + "/")),
            false,
        ),
        (
            "another cloud",
            with(claims(), "iss", json!(v2(TENANT).replace(".com", ".us"))),
            false,
        ),
    ];
    check(&world, &listed, &keys, &rows);
    let any = policy(AuthorityBuilder::dangerous_entra_any_tenant());
    let rows = [
        ("any", of_tenant(FOREIGN), true),
        ("tid and issuer differ", tid(json!(FOREIGN)), false),
        ("no GUID", of_tenant("common"), false),
        ("empty", of_tenant(""), false),
    ];
    check(&world, &any, &keys, &rows);
}

#[test]
fn key_that_names_no_issuer_signs_for_no_tenant_of_several() {
    let world = world();
    let several = policy(AuthorityBuilder::entra_tenants([TENANT, OTHER]));
    let any = policy(AuthorityBuilder::dangerous_entra_any_tenant());
    for policy in [several, any] {
        check(
            &world,
            &policy,
            &world.keys,
            &[("unnamed", claims(), false)],
        );
    }
    check(
        &world,
        &world.policy,
        &world.keys,
        &[("one tenant", claims(), true)],
    );
}

#[test]
fn key_of_the_consumer_tenant_signs_for_no_enterprise() {
    let world = world();
    let any = policy(AuthorityBuilder::dangerous_entra_any_tenant());
    let keys = key_set(&[with(rsa_jwk(&world.key), "issuer", json!(v2(CONSUMERS)))]);
    let rows = [
        ("its own tenant", of_tenant(CONSUMERS), true),
        ("an enterprise", of_tenant(TENANT), false),
    ];
    check(&world, &any, &keys, &rows);
}

#[test]
fn key_signs_only_for_its_own_cloud() {
    let world = world();
    let key = rsa_jwk(&world.key);
    let named = with(
        key.clone(),
        "cloud_instance_name",
        json!("microsoftonline.com"),
    );
    let global = |keys: KeySet| keys.of_cloud_instance("microsoftonline.com");
    let rows = [
        (
            "the same",
            global(key_set(std::slice::from_ref(&named))),
            true,
        ),
        (
            "another",
            key_set(std::slice::from_ref(&named)).of_cloud_instance("microsoftonline.us"),
            false,
        ),
        ("the key says nothing", global(key_set(&[key])), true),
        ("the metadata say nothing", key_set(&[named]), true),
    ];
    for (name, keys, passes) in rows {
        check(&world, &world.policy, &keys, &[(name, claims(), passes)]);
    }
}

#[test]
fn v1_tokens_pass_where_they_are_expected() {
    let world = world();
    let v1 = |tenant: &str| {
        let issuer = format!("https://sts.windows.net/{tenant}/");
        let claims = with(
            with(of_tenant(tenant), "iss", json!(issuer)),
            "ver",
            json!("1.0"),
        );
        with(
            with(without(claims, "azp"), "appid", json!("spa")),
            "aud",
            json!("api://x"),
        )
    };
    let without_slash = with(
        v1(TENANT),
        "iss",
        json!(format!("https://sts.windows.net/{TENANT}")),
    );
    let only_v2 = policy(AuthorityBuilder::entra(TENANT));
    let both = policy(AuthorityBuilder::entra(TENANT).v1_tokens());
    check(
        &world,
        &only_v2,
        &world.keys,
        &[("v1", v1(TENANT), false), ("v2", claims(), true)],
    );
    let rows = [
        ("v1", v1(TENANT), true),
        ("v2", claims(), true),
        ("v1 of another tenant", v1(OTHER), false),
        ("v1 without its slash", without_slash, false),
        (
            "v1 issuer with another tid",
            with(v1(TENANT), "tid", json!(OTHER)),
            false,
        ),
    ];
    check(&world, &both, &world.keys, &rows);
    let metadata_of_v2 = key_set(&[rsa_jwk(&world.key)]).of_issuer(&v2("{tenantid}"));
    let rows = [
        ("v1 by keys of v2", v1(TENANT), false),
        ("v2", claims(), true),
    ];
    check(&world, &both, &metadata_of_v2, &rows);
    let china = policy(
        AuthorityBuilder::entra(TENANT)
            .cloud(Cloud::China)
            .v1_tokens(),
    );
    let sts = with(
        v1(TENANT),
        "iss",
        json!(format!("https://sts.chinacloudapi.cn/{TENANT}/")),
    );
    let rows = [
        ("global v1", v1(TENANT), false),
        ("v1", sts, true),
        ("global v2", claims(), false),
    ];
    check(&world, &china, &world.keys, &rows);
}

#[test]
fn issuer_of_external_id_is_the_one_in_the_metadata() {
    let world = world();
    let external = policy(AuthorityBuilder::external_id(
        "https://contoso.ciamlogin.com",
        TENANT,
    ));
    let issuer = format!("https://{TENANT}.ciamlogin.com/{TENANT}/v2.0");
    let of = |issuer: &str| with(claims(), "iss", json!(issuer));
    let keys = key_set(&[rsa_jwk(&world.key)]).of_issuer(&issuer);
    let rows = [
        ("its issuer", of(&issuer), true),
        (
            "the host that was asked",
            of(&format!("https://contoso.ciamlogin.com/{TENANT}/v2.0")),
            false,
        ),
        ("the workforce issuer", claims(), false),
        (
            "another tenant",
            with(of(&issuer), "tid", json!(OTHER)),
            false,
        ),
    ];
    check(&world, &external, &keys, &rows);
    check(
        &world,
        &external,
        &world.keys,
        &[("metadata unknown", of(&issuer), false)],
    );
}

#[test]
fn keys_of_one_authority_verify_no_token_of_another() {
    let world = world();
    let resource = |issuer: &str| {
        let authority = Authority::issuer(issuer, [Algorithm::Rs256]).unwrap();
        authority.resource(CLIENT).unwrap()
    };
    let both = resource("https://a")
        .or(resource("https://b"))
        .unwrap()
        .policy();
    let of = |issuer: &str| with(claims(), "iss", json!(issuer));
    let keys = key_set(&[rsa_jwk(&world.key)]).of_issuer("https://b");
    let rows = [
        ("its own", of("https://b"), true),
        ("another trusted one", of("https://a"), false),
        ("an untrusted one", of("https://c"), false),
    ];
    check(&world, &both, &keys, &rows);
    check(
        &world,
        &both,
        &world.keys,
        &[("whoever's", of("https://b"), false)],
    );
    let token = world.sign(&header(), &of("https://b"));
    let accepted = verify(&token, &keys, &both, NOW).unwrap();
    assert_eq!(accepted.resource().authority().name(), "https://b");
}

#[test]
fn issuer_that_only_metadata_know_gives_way_to_one_that_is_known() {
    let world = world();
    let external = AuthorityBuilder::external_id("https://contoso.ciamlogin.com", TENANT);
    let external = external.build().unwrap().resource(CLIENT).unwrap();
    let other = Authority::issuer("https://a", [Algorithm::Rs256]).unwrap();
    let other = other.resource(CLIENT).unwrap();
    let token = world.sign(&header(), &with(claims(), "iss", json!("https://a")));
    let keys = world.keys.clone().of_issuer("https://a");
    for both in [
        external.clone().or(other.clone()).unwrap(),
        other.or(external).unwrap(),
    ] {
        let accepted = verify(&token, &keys, &both.policy(), NOW).unwrap();
        assert_eq!(accepted.resource().authority().name(), "https://a");
    }
}

#[test]
fn principal_knows_its_issuer() {
    let world = world();
    let several = policy(AuthorityBuilder::entra_tenants([TENANT, OTHER]));
    let keys = key_set(&[with(rsa_jwk(&world.key), "issuer", json!(v2("{tenantid}")))]);
    for tenant in [TENANT, OTHER] {
        let token = world.sign(&header(), &of_tenant(tenant));
        assert_eq!(
            verify(&token, &keys, &several, NOW).unwrap().issuer(),
            v2(tenant)
        );
    }
    let one = Authority::issuer("https://a", [Algorithm::Rs256]).unwrap();
    let one = one.resource(CLIENT).unwrap().policy();
    let token = world.sign(&header(), &with(claims(), "iss", json!("https://a")));
    let caller = verify(&token, &world.keys, &one, NOW).unwrap();
    assert_eq!(caller.issuer(), "https://a");
}

#[test]
fn algorithm_is_a_matter_of_the_tokens_own_authority() {
    let world = world();
    let resource = |issuer: &str, algorithm| {
        let authority = Authority::issuer(issuer, [algorithm]).unwrap();
        authority.resource(CLIENT).unwrap()
    };
    let rs256 = resource("https://a", Algorithm::Rs256);
    let both = rs256
        .or(resource("https://b", Algorithm::Es256))
        .unwrap()
        .policy();
    for (issuer, expected) in [
        ("https://a", None),
        ("https://b", Some(VerifyError::Algorithm)),
    ] {
        let token = world.sign(&header(), &with(claims(), "iss", json!(issuer)));
        let refused = verify(&token, &world.keys.clone().of_issuer(issuer), &both, NOW).err();
        assert_eq!(refused, expected, "{issuer}");
    }
}

#[test]
fn rfc_9068_to_the_letter_where_that_is_asked_for() {
    let world = world();
    let authority = Authority::issuer("https://a", [Algorithm::Rs256]).unwrap();
    let lenient = authority.resource(CLIENT).unwrap();
    let strict = lenient.clone().strict_rfc9068().unwrap();
    let good = with(
        with(
            with(claims(), "iss", json!("https://a")),
            "client_id",
            json!("c"),
        ),
        "jti",
        json!("j"),
    );
    let at_jwt = with(header(), "typ", json!("at+jwt"));
    let rows = [
        ("complete", at_jwt.clone(), good.clone(), true),
        ("typ JWT", header(), good.clone(), false),
        ("no typ", without(header(), "typ"), good.clone(), false),
        (
            "no sub",
            at_jwt.clone(),
            without(good.clone(), "sub"),
            false,
        ),
        (
            "no client_id",
            at_jwt.clone(),
            without(good.clone(), "client_id"),
            false,
        ),
        (
            "client_id of another type",
            at_jwt.clone(),
            with(good.clone(), "client_id", json!(1)),
            false,
        ),
        (
            "no jti",
            at_jwt.clone(),
            without(good.clone(), "jti"),
            false,
        ),
        (
            "empty jti",
            at_jwt.clone(),
            with(good.clone(), "jti", json!("")),
            false,
        ),
        ("no iat", at_jwt, without(good, "iat"), false),
    ];
    for (name, header, claims, passes) in rows {
        let token = world.sign(&header, &claims);
        let refused = verify(&token, &world.keys, &strict.policy(), NOW).err();
        assert_eq!(
            refused,
            (!passes).then_some(VerifyError::NotAccessToken),
            "{name}"
        );
        assert!(
            verify(&token, &world.keys, &lenient.policy(), NOW).is_ok(),
            "{name}, lenient"
        );
    }
}
