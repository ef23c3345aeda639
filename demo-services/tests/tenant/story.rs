//! From nothing to everything and back.

use serde_json::json;

use crate::harness::Tenant;

#[tokio::test]
async fn register_again_and_unregister_leave_the_tenant_as_it_was() {
    let tenant = Tenant::start().await;
    let before = tenant.everything().await;

    let report = tenant.register().await.unwrap();
    let kinds = |kind: &str| {
        let json = serde_json::to_value(&report).unwrap();
        let objects = json["objects"].as_array().unwrap().clone();
        objects
            .iter()
            .filter(|object| object["kind"] == kind)
            .count()
    };
    let counts = [
        "application",
        "service-principal",
        "certificate",
        "grant",
        "role-assignment",
        "authentication-context",
        "policy",
    ]
    .map(kinds);
    assert_eq!(counts, [6, 6, 3, 7, 1, 1, 3], "{}", report.table());
    assert!(report.left_out.is_empty(), "{:?}", report.left_out);
    assert!(tenant.waited().is_empty());
    let record = tenant.record();
    assert!(record.finished);
    let after = tenant.everything().await;

    // The same again is nothing.
    tenant.writes();
    let again = tenant.register().await.unwrap();
    assert_eq!((tenant.writes(), again.changes), (vec![], 0));
    assert!(
        tenant.told().iter().all(|line| line.ends_with("(kept)")),
        "{:?}",
        tenant.told()
    );
    assert_eq!(
        (&record, &after),
        (&tenant.record(), &tenant.everything().await)
    );
    assert_eq!(again.objects, report.objects);

    let removed = tenant.unregister().await.unwrap();
    assert_eq!((removed.removed, removed.gone), (6 + 6 + 7 + 1 + 1 + 3, 0));
    assert_eq!(tenant.everything().await, before);
    assert_eq!(tenant.files.names(), Vec::<String>::new());
    assert_eq!(json!(removed.files), 9);
}
