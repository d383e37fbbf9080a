package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// mountDisk puts a disk where a server keeps the files of one database. It
// takes the right to mount.
func mountDisk(dir string, size int64) (*disk, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, errors.New("no owner")
	}
	kept := filepath.Join(dir, "db.opt") // the database's character set
	options, err := os.ReadFile(kept)    //nolint:gosec // in our server's folder
	if err != nil {
		return nil, err
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700,uid=%d,gid=%d", size, owner.Uid, owner.Gid)); err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	if err := os.WriteFile(kept, options, 0o600); err != nil { //nolint:gosec // as above
		return nil, err
	}
	return &disk{dir}, os.Chown(kept, int(owner.Uid), int(owner.Gid))
}

// mountFile puts a file in the place of another.
func mountFile(file, at string) error {
	if err := syscall.Mount(file, at, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", at, err)
	}
	return nil
}

func (d *disk) unmount() { _ = syscall.Unmount(d.dir, syscall.MNT_DETACH) }

// ownMounts gives this thread, and the children that it starts, mounts of their
// own.
func ownMounts() error {
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	return nil
}
