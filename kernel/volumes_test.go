package kernel

import (
	"strings"
	"testing"
)

// The words of Docker's errors, and no password in them.
func TestMountErrors(t *testing.T) {
	for _, row := range []struct{ kind, device, options, want string }{
		{"nfs", ":/x", "addr=a..b,rw", "error resolving passed in network volume address: "},
		{"cifs", "//a..b/x", "username=u,password=geheim", "error resolving passed in network volume address: "},
		{"none", "/nosuch", "bind", "failed to mount local volume: mount /nosuch:/nowhere, flags: 0x1000: "},
		{"nosuchfs", "/nosuch", "password=geheim", "failed to mount local volume: mount /nosuch:/nowhere, data: password=********: "},
		{"tmpfs", "", "", "missing device in volume options"},
	} {
		err := Volumes{}.Mount("/nowhere", row.kind, row.device, row.options)
		if err == nil || !strings.HasPrefix(err.Error(), row.want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", row.kind, err)
		}
	}
}
