use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use flatpass_store::{SealError, Sealer, Store, StoreError};

use crate::scene::{Scene, account, cheap, open_with, rng, url};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Threat 14.
#[tokio::test]
async fn the_key_the_database_and_its_log_are_for_the_owner_only() {
    let scene = Scene::new().await;
    account(&scene.store, "ada@example.org").await;
    for name in ["secret.key", "flatpass.db", "flatpass.db-wal", "flatpass.db-shm"] {
        assert_eq!(mode(&scene.folder.path().join(name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_key_file_that_others_may_read_is_refused_with_the_command_that_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret.key");
    Sealer::create_key_file(&path, &mut rng(1)).unwrap();
    let twice = Sealer::create_key_file(&path, &mut rng(2));
    assert!(matches!(twice, Err(SealError::File { .. })), "an existing key is never overwritten: {twice:?}");
    for wide in [0o640, 0o604, 0o660, 0o666, 0o610] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(wide)).unwrap();
        let refused = Sealer::from_key_file(&path);
        assert!(refused.unwrap_err().to_string().contains("chmod 600"), "{wide:o}");
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let sealer = Sealer::from_key_file(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!format!("{sealer:?}").contains(text.trim()));
    for content in ["", "short", &text.trim()[..40], "not base64 !", &text.repeat(2)] {
        std::fs::write(&path, content).unwrap();
        assert!(matches!(Sealer::from_key_file(&path), Err(SealError::Content(_))), "{content:?}");
    }
    let absent = Sealer::from_key_file(&folder.path().join("none"));
    assert!(matches!(absent, Err(SealError::File { .. })), "{absent:?}");
}

#[tokio::test]
async fn another_key_file_is_noticed_when_the_store_is_opened() {
    let scene = Scene::new().await;
    scene.store.close().await;
    let other = scene.folder.path().join("other.key");
    let sealer = Sealer::create_key_file(&other, &mut rng(99)).unwrap();
    let opened = Store::open(&url(scene.folder.path()), sealer).await;
    assert!(matches!(opened, Err(StoreError::Seal(SealError::WrongKey))), "{opened:?}");
    open_with(scene.folder.path(), cheap()).await;
}

#[tokio::test]
async fn an_empty_file_becomes_a_store_even_when_several_programs_open_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("secret.key");
    Sealer::create_key_file(&key, &mut rng(1)).unwrap();
    let opened: Vec<_> = (0..8)
        .map(|_| {
            let (url, sealer) = (url(folder.path()), Sealer::from_key_file(&key).unwrap());
            tokio::spawn(async move { Store::open_with(&url, sealer, cheap()).await })
        })
        .collect();
    for store in opened {
        store.await.unwrap().unwrap();
    }
    let store = open_with(folder.path(), cheap()).await;
    account(&store, "ada@example.org").await;
}

#[tokio::test]
async fn a_database_of_a_newer_version_and_other_urls_are_refused() {
    let scene = Scene::new().await;
    scene
        .sql("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)")
        .await;
    let sealer = || Sealer::from_key_file(&scene.folder.path().join("secret.key")).unwrap();
    let newer = Store::open(&url(scene.folder.path()), sealer()).await;
    assert!(matches!(newer, Err(StoreError::TooNew(9999))), "{newer:?}");
    for wrong in ["postgres://localhost/flatpass", "sqlite::memory:", "sqlite:", "flatpass.db", ""] {
        let refused = Store::open(wrong, sealer()).await;
        assert!(matches!(refused, Err(StoreError::Url(_))), "{wrong}: {refused:?}");
    }
    let nowhere = Store::open("sqlite:/nonexistent/folder/flatpass.db", sealer()).await;
    assert!(matches!(nowhere, Err(StoreError::File { .. })), "{nowhere:?}");
}

/// The second backend must stay possible: no column type that only one of the two has.
#[tokio::test]
async fn every_column_is_text_or_bigint() {
    let scene = Scene::new().await;
    let others = scene
        .count(
            "SELECT COUNT(*) FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns
             WHERE tables.type = 'table' AND tables.name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND tables.name NOT LIKE 'sqlite%'
               AND columns.type NOT IN ('TEXT', 'BIGINT')",
        )
        .await;
    assert_eq!(others, 0);
    assert!(scene.count("SELECT COUNT(*) FROM sqlite_master WHERE type = 'table'").await > 15);
}
