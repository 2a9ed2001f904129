use flatpass_store::{RepoListing, StoreError};

use crate::scene::{NOW, Scene, repo, rng};

#[tokio::test]
async fn how_an_index_is_made_is_kept_changed_and_goes_with_its_repo() {
    let scene = Scene::new().await;
    let (store, mut rng) = (&scene.store, rng(1));
    repo(store, "apps", &[]).await;
    repo(store, "other", &[]).await;
    assert_eq!(store.repo_listing("apps").await.unwrap(), None);
    let signed = RepoListing { signing_key: Some(b"a key".to_vec().into()) };
    let unsigned = RepoListing { signing_key: None };
    for listing in [&signed, &unsigned, &signed] {
        let before = store.change_counter().await.unwrap();
        store.set_repo_listing("apps", Some(listing), NOW, &mut rng).await.unwrap();
        assert!(store.change_counter().await.unwrap() > before, "servers take it up");
        assert_eq!(scene.opened_again().await.repo_listing("apps").await.unwrap().as_ref(), Some(listing));
        assert_eq!(store.repo_listing("other").await.unwrap(), None);
    }
    // The key of one repo does not open as another's.
    scene.sql("INSERT INTO repo_listings SELECT 'other', sealed_key, created_at FROM repo_listings").await;
    assert!(matches!(store.repo_listing("other").await, Err(StoreError::Seal(_))));
    store.set_repo_listing("other", None, NOW, &mut rng).await.unwrap();
    assert_eq!(store.repo_listing("other").await.unwrap(), None);
    store.remove_repo("apps", NOW).await.unwrap();
    repo(store, "apps", &[]).await;
    assert_eq!(store.repo_listing("apps").await.unwrap(), None, "it is another repo now");
    let gone = store.set_repo_listing("gone", Some(&signed), NOW, &mut rng).await;
    assert!(matches!(gone, Err(StoreError::NoRepo(_))));
}
