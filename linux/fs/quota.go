package fs

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fsxattr is struct fsxattr of linux/fs.h.
type fsxattr struct {
	flags, extsize, nextents, project, cowextsize uint32
	_                                             [8]byte
}

// diskQuota is struct fs_disk_quota of linux/dqblk_xfs.h: limits in blocks of 512 bytes.
type diskQuota struct {
	version        int8
	flags          int8
	fieldmask      uint16
	id             uint32
	blkHard        uint64
	blkSoft        uint64
	inoHard        uint64
	inoSoft        uint64
	bcount, icount uint64
	_              [64]byte // timers, warnings, real-time limits
}

const (
	getFsxattr     = 0x801c581f // FS_IOC_FSGETXATTR
	setFsxattr     = 0x401c5820 // FS_IOC_FSSETXATTR
	inheritProject = 0x200      // FS_XFLAG_PROJINHERIT

	projectQuota = 2 // PRJQUOTA
	getQuota     = ('X'<<8 + 3) << 8
	setLimits    = ('X'<<8 + 4) << 8
	fieldHard    = 1 << 3 // FS_DQ_BHARD
	fieldSoft    = 1 << 2
)

// quotactl asks the file system that f lies on (quotactl_fd(2), Linux 5.14).
func quotactl(f *os.File, cmd int, project uint32, q *diskQuota) error {
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.Fd(), uintptr(cmd|projectQuota), uintptr(project), uintptr(unsafe.Pointer(q)), 0, 0)
	runtime.KeepAlive(f)
	if errno != 0 {
		return errno
	}
	return nil
}

// ProjectQuota reports whether the file system of a folder bounds projects.
func ProjectQuota(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	err = quotactl(f, getQuota, 0, &diskQuota{})
	return err == nil || err == unix.ENOENT // no quota of project 0 is set
}

// LimitProject makes a folder the root of a project, if it is not that already, and
// bounds what the project holds to size bytes. Files that are there already are not
// moved into it.
func LimitProject(path string, project uint32, size uint64) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	q := diskQuota{
		version: 1, flags: 2, // FS_PROJ_QUOTA
		fieldmask: fieldHard | fieldSoft, id: project, blkHard: size / 512, blkSoft: size / 512,
	}
	if err := quotactl(f, setLimits, project, &q); err != nil {
		return fmt.Errorf("set quota limit for project %d on %s: %w", project, path, err)
	}
	var x fsxattr
	if err := ioctl(f, getFsxattr, unsafe.Pointer(&x)); err != nil {
		return fmt.Errorf("read project of %s: %w", path, err)
	}
	if x.project == project && x.flags&inheritProject != 0 {
		return nil
	}
	x.project, x.flags = project, x.flags|inheritProject
	if err := ioctl(f, setFsxattr, unsafe.Pointer(&x)); err != nil {
		return fmt.Errorf("set project of %s: %w", path, err)
	}
	return nil
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
	runtime.KeepAlive(f)
	if errno != 0 {
		return errno
	}
	return nil
}
