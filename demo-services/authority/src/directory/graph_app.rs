//! The API that every directory has: Microsoft Graph, with the permissions that this authority's part of it knows.

use uuid::Uuid;

use super::registration::{AppRole, PermissionScope};
use super::{App, GRAPH};

/// Delegated permissions: name, id (Microsoft's permissions reference), whether only an administrator can consent.
const SCOPES: &[(&str, u128, bool)] = &[
    ("openid", 0x37f7_f235_527c_4136_accd_4a02_d197_296e, false),
    ("profile", 0x14da_d69e_099b_42c9_810b_d002_981f_eec1, false),
    ("email", 0x64a6_cdd6_aab1_4aaf_94b8_3cc8_405e_90d0, false),
    (
        "offline_access",
        0x7427_e0e9_2fba_42fe_b0c0_848c_9e6a_8182,
        false,
    ),
    (
        "User.Read",
        0xe1fe_6dd8_ba31_4d61_89e7_8863_9da4_683d,
        false,
    ),
    (
        "User.ReadWrite",
        0xb4e7_4841_8e56_480b_be8b_9103_48b1_8b4c,
        false,
    ),
    (
        "User.ReadBasic.All",
        0xb340_eb25_3456_403f_be2f_af7a_0d37_0277,
        false,
    ),
    (
        "User.Read.All",
        0xa154_be20_db9c_4678_8ab7_66f6_cc09_9a59,
        true,
    ),
    (
        "Group.Read.All",
        0x5f8c_59db_677d_491f_a6b8_5f17_4b11_ec1d,
        true,
    ),
    (
        "Organization.Read.All",
        0x4908_d5b9_3fb2_4b1e_9336_1888_b793_7185,
        true,
    ),
    (
        "Directory.Read.All",
        0x06da_0dbc_49e2_44d2_8312_53f1_66ab_848a,
        true,
    ),
    (
        "Application.Read.All",
        0xc79f_8feb_a9db_4090_85f9_90d8_20ca_a0eb,
        true,
    ),
    (
        "Application.ReadWrite.All",
        0xbdfb_f15f_ee85_4955_8675_146e_8e52_96b5,
        true,
    ),
    (
        "AppRoleAssignment.ReadWrite.All",
        0x84bc_cea3_f856_4a8a_967b_dbe0_a3d5_3a64,
        true,
    ),
    (
        "DelegatedPermissionGrant.ReadWrite.All",
        0x41ce_6ca6_6826_4807_84f1_1c82_854f_7ee5,
        true,
    ),
    (
        "Policy.Read.All",
        0x572f_ea84_0151_49b2_9301_11cb_1697_4376,
        true,
    ),
    (
        "Policy.Read.ConditionalAccess",
        0x633e_0fce_8c58_4cfb_9495_12bb_d5a2_4f7c,
        true,
    ),
    (
        "Policy.ReadWrite.ConditionalAccess",
        0xad90_2697_1014_4ef5_81ef_2b43_0198_8e8c,
        true,
    ),
    (
        "AuthenticationContext.Read.All",
        0x57b0_30f1_8c35_469c_b0d9_e4a0_77de_be70,
        true,
    ),
    (
        "AuthenticationContext.ReadWrite.All",
        0xba6d_575a_1344_4516_b777_1404_f559_3057,
        true,
    ),
];

/// Application permissions: name and id.
const ROLES: &[(&str, u128)] = &[
    ("User.Read.All", 0xdf02_1288_bdef_4463_88db_98f2_2de8_9214),
    ("Group.Read.All", 0x5b56_7255_7703_4780_807c_7be8_301a_e99b),
    (
        "Organization.Read.All",
        0x4984_76ce_e0fe_48b0_b801_37ba_7e26_85c6,
    ),
    (
        "Directory.Read.All",
        0x7ab1_d382_f21e_4acd_a863_ba3e_13f7_da61,
    ),
    (
        "Application.Read.All",
        0x9a5d_68dd_52b0_4cc2_bd40_abcf_44ac_3a30,
    ),
    (
        "Application.ReadWrite.All",
        0x1bfe_fb4e_e0b5_418b_a88f_73c4_6d2c_c8e9,
    ),
    (
        "AppRoleAssignment.ReadWrite.All",
        0x06b7_08a9_e830_4db3_a914_8e69_da51_d44f,
    ),
    (
        "DelegatedPermissionGrant.ReadWrite.All",
        0x8e8e_4742_1d95_4f68_9d56_6ee7_5648_c72a,
    ),
    ("Policy.Read.All", 0x246d_d0d5_5bd0_4def_940b_0421_030a_5b68),
    (
        "Policy.Read.ConditionalAccess",
        0x3773_0810_e9ba_4e46_b07e_8ca7_8d18_2097,
    ),
    (
        "Policy.ReadWrite.ConditionalAccess",
        0x01c0_a623_fc9b_48e9_b794_0756_f8e8_f067,
    ),
    (
        "AuthenticationContext.Read.All",
        0x381f_742f_e1f8_4309_b4ab_e3d9_1ae4_c5c1,
    ),
    (
        "AuthenticationContext.ReadWrite.All",
        0xa88e_ef72_fed0_4bf7_a2a9_f19d_f33f_8b83,
    ),
];

impl App {
    /// The API that `https://graph.microsoft.com` names. Scopes without a resource belong to it.
    pub(crate) fn graph() -> Self {
        let mut graph = Self::new("Microsoft Graph", GRAPH);
        graph.identifier_uris = vec!["https://graph.microsoft.com".to_owned()];
        graph.scopes = SCOPES.iter().map(|(name, ..)| (*name).to_owned()).collect();
        graph.app_roles = ROLES.iter().map(|(name, _)| (*name).to_owned()).collect();
        graph.registration.scopes = SCOPES.iter().map(scope).collect();
        graph.registration.roles = ROLES.iter().map(role).collect();
        graph
    }
}

fn scope((name, id, admin): &(&str, u128, bool)) -> PermissionScope {
    PermissionScope {
        admin_consent_description: Some(format!("{name} as the signed-in user.")),
        admin_consent_display_name: Some((*name).to_owned()),
        id: Uuid::from_u128(*id),
        is_enabled: true,
        r#type: Some(if *admin { "Admin" } else { "User" }.to_owned()),
        user_consent_description: None,
        user_consent_display_name: None,
        value: Some((*name).to_owned()),
    }
}

fn role((name, id): &(&str, u128)) -> AppRole {
    AppRole {
        allowed_member_types: vec!["Application".to_owned()],
        description: Some(format!("{name} without a signed-in user.")),
        display_name: Some((*name).to_owned()),
        id: Uuid::from_u128(*id),
        is_enabled: true,
        value: Some((*name).to_owned()),
    }
}
