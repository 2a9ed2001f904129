use super::*;

const OLD: &str = "https://d:old@shop.example/repo/apps";

fn installation(config: &str) -> (tempfile::TempDir, Installation) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("repo")).expect("made");
    fs::write(folder.path().join(".changed"), "").expect("written");
    let installation = Installation { scope: Scope::User, base: folder.path().to_owned() };
    fs::write(installation.config(), config).expect("written");
    (folder, installation)
}

fn secret(url: &str) -> SecretText {
    SecretText::new(url.to_owned())
}

#[test]
fn a_change_keeps_mode_and_content_and_leaves_nothing_over() {
    let config = format!("[core]\nmode=bare-user-only\n\n[remote \"shop\"]\nurl={OLD}\n# end");
    let (folder, installation) = installation(&config);
    for mode in [0o644, 0o600] {
        fs::write(installation.config(), &config).expect("written");
        fs::set_permissions(installation.config(), Permissions::from_mode(mode)).expect("set");
        // What a crash left behind.
        fs::write(folder.path().join("repo").join(NEW_CONFIG), "half a fi").expect("written");
        let locked = installation.lock().expect("locked");
        locked.change_url("shop", OLD, &secret("https://d:new@shop.example/repo/apps")).expect("changed");
        let text = fs::read_to_string(installation.config()).expect("text");
        assert_eq!(text, config.replace("d:old", "d:new"));
        assert_eq!(fs::metadata(installation.config()).expect("there").mode() & 0o7777, mode);
        assert_eq!(fs::read_dir(folder.path().join("repo")).expect("a folder").count(), 1);
        assert!(locked.change_url("shop", OLD, &secret("https://x/")).is_err(), "it was changed already");
        assert_eq!(fs::read_to_string(installation.config()).expect("text"), text);
    }
}

/// Flatpak replaces the file without a lock: what it writes in between must not be lost.
#[test]
fn a_change_of_another_program_at_the_same_time_is_kept() {
    let config = format!("[remote \"shop\"]\nurl={OLD}\n");
    let (folder, installation) = installation(&config);
    let flatpak_writes = |text: &str| {
        let new = folder.path().join("new");
        fs::write(&new, text).expect("written");
        fs::rename(&new, installation.config()).expect("renamed");
    };
    let now = || fs::read_to_string(installation.config()).expect("text");
    let locked = installation.lock().expect("locked");
    let to = secret("https://d:new@shop.example/repo/apps");

    // It adds a remote at the last moment.
    let other = "[remote \"other\"]\nurl=file:///r\n";
    let mut count = 0;
    let added = locked.change("shop", OLD, &to, || {
        count += 1;
        if count == 1 {
            flatpak_writes(&format!("{config}{other}"));
        }
    });
    added.expect("changed");
    assert_eq!(now(), format!("{}{other}", config.replace("d:old", "d:new")));

    // It removes the remote: then there is nothing to change, and it stays removed.
    flatpak_writes(&config);
    let removed = locked.change("shop", OLD, &to, || flatpak_writes("[core]\n"));
    assert!(
        matches!(removed, Err(InstallationError::Edit { cause: EditError::NotThere, .. })),
        "{removed:?}"
    );
    assert_eq!(now(), "[core]\n");

    // It never stops.
    flatpak_writes(&config);
    let mut count = 0;
    let busy = locked.change("shop", OLD, &to, || {
        count += 1;
        flatpak_writes(&format!("{config}# {count}\n"));
    });
    assert!(matches!(busy, Err(InstallationError::Busy { .. })), "{busy:?}");
    assert_eq!(now(), format!("{config}# {count}\n"), "its last word stands");
}

#[test]
fn a_place_without_an_installation_or_with_something_else_in_it_is_refused() {
    let (folder, installation) = installation("[core]\n");
    assert_eq!(installation.remote("shop").expect("read"), None);
    let elsewhere = Installation { scope: Scope::System, base: folder.path().join("nothing") };
    assert_eq!(elsewhere.remote("shop").expect("read"), None);
    assert!(matches!(elsewhere.lock(), Err(InstallationError::NoInstallation { .. })));
    // A link would be replaced by a file, and what it points to would stay as it is.
    fs::rename(installation.config(), folder.path().join("real")).expect("moved");
    fs::write(folder.path().join("real"), format!("[remote \"shop\"]\nurl={OLD}\n")).expect("written");
    std::os::unix::fs::symlink(folder.path().join("real"), installation.config()).expect("linked");
    let locked = installation.lock().expect("locked");
    assert!(locked.change_url("shop", OLD, &secret("https://x/")).is_err());
}
