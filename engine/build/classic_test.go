package build

import "testing"

func TestClassicHistory(t *testing.T) {
	bk := "buildkit.dockerfile.v0"
	got := classicHistory([]history{
		{CreatedBy: "base", Comment: bk}, {CreatedBy: "RUN |1 V=7 /bin/sh -c echo $V # buildkit", Comment: bk}, {CreatedBy: `CMD ["/y"]`, Comment: bk, EmptyLayer: true},
		{CreatedBy: "COPY /a /b # buildkit", Comment: bk}, {CreatedBy: "COPY a b /c/ # buildkit", Comment: bk}, {CreatedBy: "WORKDIR /work", Comment: bk, EmptyLayer: true},
		{CreatedBy: "EXPOSE [8080/tcp 53/udp]", Comment: bk, EmptyLayer: true},
	}, 1, []string{"sha256:00", "sha256:11", "sha256:22", "sha256:33"})
	want := []string{
		"base", "|1 V=7 /bin/sh -c echo $V", `/bin/sh -c #(nop)  CMD ["/y"]`, "/bin/sh -c #(nop) COPY file:22 in /b ", "/bin/sh -c #(nop) COPY multi:33 in /c/ ",
		"/bin/sh -c #(nop) WORKDIR /work", "/bin/sh -c #(nop)  EXPOSE 8080 53/udp",
	}
	for n, h := range got {
		if h.CreatedBy != want[n] || n > 0 && h.Comment != "" {
			t.Errorf("%q %q, want %q", h.CreatedBy, h.Comment, want[n])
		}
	}
}
