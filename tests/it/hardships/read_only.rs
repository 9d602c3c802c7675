//! A state directory that cannot be written to: from the start, or from one moment to the next.

use super::*;

/// An ext4 file system on a file, which goes read-only where it finds itself damaged.
fn format(scene: &Scene) -> PathBuf {
    let image = scene.workspace.path("disk.img");
    std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    system("mkfs.ext4", &["-q"], &image);
    image
}

fn mount(options: &str, image: &Path, scene: &Scene) -> Mount {
    Mount::new(&["-o", options, image.to_str().unwrap()], scene.directory())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system"]
async fn a_read_only_state_directory_is_a_clear_error() {
    let scene = Scene::new().await;
    let image = format(&scene);
    let _disk = mount("loop,ro", &image, &scene);
    let said = scene.assert_refused(scene.state()).await;
    assert!(said.contains("/state/state.db.lock: Read-only file system"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system"]
async fn a_state_that_becomes_immutable_is_served_until_it_can_be_written_again() {
    let scene = Scene::new().await;
    let image = format(&scene);
    let _disk = mount("loop", &image, &scene);
    scene.deliver(8);
    let exporter = scene.start().await;
    let before = scene.wait_for_truth(&exporter).await;

    system("chattr", &["-R", "+i"], &scene.directory());
    scene.deliver(40);
    assert_serves_while_failing(&exporter, &before).await;
    assert_told(&exporter, "Operation not permitted").await;

    system("chattr", &["-R", "-i"], &scene.directory());
    scene.wait_for_truth(&exporter).await.assert_not_below(&before);
    scene.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system"]
async fn a_file_system_that_goes_read_only_is_served_until_it_is_mended() {
    let scene = Scene::new().await;
    let image = format(&scene);
    let disk = mount("loop,errors=remount-ro", &image, &scene);
    scene.deliver(8);
    let exporter = scene.start().await;
    let before = scene.wait_for_truth(&exporter).await;

    // As the kernel does it where it meets a damaged block: files that are open for writing are no obstacle to it.
    let source = Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(scene.directory()).output().unwrap();
    let device = PathBuf::from(String::from_utf8(source.stdout).unwrap().trim());
    let trigger = Path::new("/sys/fs/ext4").join(device.file_name().unwrap()).join("trigger_fs_error");
    std::fs::write(trigger, "test").unwrap();
    scene.deliver(40);
    assert_serves_while_failing(&exporter, &before).await;
    assert_told(&exporter, "Read-only file system").await;
    assert_eq!(exporter.terminate().await, Some(0));

    drop(disk);
    // 1 says that something was mended: the mark of the error.
    let mended = Command::new("e2fsck").arg("-fp").arg(&image).status().unwrap();
    assert!(matches!(mended.code(), Some(0 | 1)), "{mended}");
    let _disk = mount("loop", &image, &scene);
    let exporter = scene.start().await;
    scene.wait_for_truth(&exporter).await.assert_not_below(&before);
    scene.assert_sound().await;
}
