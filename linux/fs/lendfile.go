package fs

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// LendFile sends bytes to a unix socket, and with the first of them an open file. On any other connection it is
// errors.ErrUnsupported, and nothing was sent.
func LendFile(to net.Conn, b []byte, f *os.File) error {
	conn, ok := to.(*net.UnixConn)
	if !ok || len(b) == 0 {
		return errors.ErrUnsupported
	}
	n, _, err := conn.WriteMsgUnix(b, unix.UnixRights(int(f.Fd())), nil)
	runtime.KeepAlive(f)
	if err == nil && n < len(b) {
		_, err = conn.Write(b[n:])
	}
	return err
}

// BorrowFile reads as many bytes as b is long, and takes the file that LendFile sent with them: a regular one of a
// file system that is the kernel's own. What else came, or nothing, is errors.ErrUnsupported: something stands
// between us and whoever sent it, or a process could answer for it whenever it likes.
func BorrowFile(from net.Conn, b []byte) (_ *os.File, err error) {
	conn, ok := from.(*net.UnixConn)
	if !ok || len(b) == 0 {
		return nil, errors.ErrUnsupported
	}
	// Room for one: the kernel closes what there is no room for.
	oob := make([]byte, unix.CmsgLen(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(b, oob)
	fds, cmsgErr := passed(oob[:oobn])
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "what the client opened")
	}
	defer func() {
		if err != nil || len(files) != 1 {
			for _, f := range files {
				f.Close()
			}
		}
	}()
	if err == nil {
		err = cmsgErr
	}
	if err == nil {
		_, err = io.ReadFull(conn, b[n:])
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("take a file from the client: %w", err)
	case len(files) != 1:
		return nil, errors.ErrUnsupported
	}
	return files[0], borrowable(files[0])
}

func passed(oob []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	for i := range messages {
		list, e := unix.ParseUnixRights(&messages[i])
		fds, err = append(fds, list...), errors.Join(err, e)
	}
	return fds, err
}

func borrowable(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	var on unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &on); err != nil {
		return os.NewSyscallError("fstatfs", err)
	}
	runtime.KeepAlive(f)
	if st.Mode&unix.S_IFMT != unix.S_IFREG || on.Type == unix.FUSE_SUPER_MAGIC {
		return errors.ErrUnsupported
	}
	return nil
}
