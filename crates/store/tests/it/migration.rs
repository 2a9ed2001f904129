//! A database of an older version, with people and money in it, brought up to date.

use std::borrow::Cow;

use flatpass_store::{Holder, RepoPolicy, Sealer, SourceKind, What};
use flatpass_token::Verb;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Connection, SqlSafeStr};

use crate::scene::{NOW, cheap, open_with, rng, url};

const OLD: [(i64, &str, &str); 2] = [
    (1, "accounts and rights", include_str!("../../migrations/0001_accounts_and_rights.sql")),
    (2, "orders", include_str!("../../migrations/0002_orders.sql")),
];
const ROWS: &str = "
    INSERT INTO accounts (id, email, password_hash, created_at) VALUES ('acc_ada', 'ada@example.org', 'x', 1);
    INSERT INTO sessions (id, secret_hash, account_id, user_agent, address, created_at, expires_at)
      VALUES ('ses_1', 'h1', 'acc_ada', '', '', 1, 9000000000);
    INSERT INTO repos VALUES ('apps', '/srv/apps', 'refs', '[\"https://m.example/\"]', '[0,1]', 7);
    INSERT INTO repos VALUES ('inside', '/srv/inside', 'private', '[]', '[0]', 8);
    INSERT INTO access_tokens VALUES ('tok_1', 'h2', 'acc_ada', 'inside', 'laptop', 1, NULL, NULL);
    INSERT INTO offers VALUES ('apps', 'org.test.Paid', 'Paid app', 500, 'EUR', 1, 2);
    INSERT INTO offers VALUES ('apps', 'org.test.Other', 'Other', 700, 'EUR', 1, 2);
    INSERT INTO orders VALUES ('ord_1', 'acc_ada', 'apps', 'org.test.Paid', 'Paid app', 500, 'EUR', 'sandbox', 'r', 'paid', 1, 2);
    INSERT INTO entitlements VALUES ('ent_1', 'acc_ada', 'apps', 'org.test.Paid', 'download upgrade', 5, NULL, 'order', 'ord_1', 5, NULL);
    INSERT INTO entitlements VALUES ('ent_2', 'acc_ada', 'inside', '*', 'download', 5, 9000000000, 'grant', 'test', 6, NULL);
    INSERT INTO entitlements VALUES ('ent_3', 'acc_ada', 'inside', 'org.test.*', '', 5, NULL, 'grant', 'test', 7, NULL);
    INSERT INTO entitlements VALUES ('ent_4', 'acc_ada', 'inside', '*', 'download', 5, NULL, 'grant', 'test', 8, 9)";

#[tokio::test]
async fn a_database_from_before_groups_loses_no_repo_offer_order_or_entitlement() {
    let folder = tempfile::tempdir().unwrap();
    Sealer::create_key_file(&folder.path().join("secret.key"), &mut rng(0)).unwrap();
    let address = format!("{}?mode=rwc", url(folder.path()));
    let mut connection = sqlx::SqliteConnection::connect(&address).await.unwrap();
    let old = OLD.iter().map(|&(version, name, sql)| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(old.collect()).run_direct(None, &mut connection, false).await.unwrap();
    sqlx::raw_sql(ROWS).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    let store = open_with(folder.path(), cheap()).await;
    let ada = store.account_by_email("ada@example.org").await.unwrap().unwrap();
    let repos = store.repos().await.unwrap();
    assert_eq!(
        repos.iter().map(|repo| repo.policy).collect::<Vec<_>>(),
        [RepoPolicy::Refs, RepoPolicy::Private]
    );
    assert_eq!(
        (repos[0].urls.as_slice(), repos[0].open_token_types.as_slice()),
        (["https://m.example/".to_owned()].as_slice(), [0, 1].as_slice())
    );
    let offers = store.offers("apps").await.unwrap();
    assert_eq!(offers.iter().map(|offer| offer.price.minor).collect::<Vec<_>>(), [700, 500]);
    let tokens = store.list_access_tokens(Some(&ada.id), NOW).await.unwrap();
    assert!(tokens.len() == 1 && !tokens[0].may_push, "none from before pushes");
    let held = store.held_by(&Holder::Account(ada.id.clone()), NOW).await.unwrap();
    let ids: Vec<_> = held.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, ["ent_1", "ent_2", "ent_3"], "the revoked one is not held");
    assert!(matches!(&held[0].what, What::Apps { repo, branch: None, .. } if repo == "apps"));
    let mut verbs = held[0].verbs.clone();
    verbs.sort();
    assert_eq!(
        (verbs, held[0].source.kind),
        (vec![Verb::Download, Verb::Upgrade, Verb::List], SourceKind::Order)
    );
    assert!(held[1].verbs.contains(&Verb::List) && held[1].ends_at.is_some());
    assert!(held[2].verbs.is_empty(), "what allowed nothing allows nothing");
    // The new table of repos is one that offers hang on, and takes the new policy.
    let new = flatpass_store::NewRepo {
        name: "bytes".into(),
        source: flatpass_store::RepoSource::Ostree("/srv".into()),
        policy: RepoPolicy::Objects,
        urls: vec![],
        open_token_types: vec![],
    };
    assert_eq!(store.add_repo(new, NOW).await.unwrap().policy, RepoPolicy::Objects);
    store.remove_repo("apps", NOW).await.unwrap();
    assert!(store.offers("apps").await.unwrap().is_empty());
}
