package web

import (
	"strings"
	"testing"
	"time"

	"lighter/hub/meta"
	"lighter/oci"
)

const evil = `<script>alert(1)</script><img src=x onerror=alert(2)>"'&`

// HTML in everything that somebody can push or write comes out as text.
func TestHostileText(t *testing.T) {
	h := seed(t)
	readme := evil + "\n\n[a](javascript:alert(3)) [b](data:text/html,x) ![pic](https://spy.example/p.png) [![n](x)](https://ok.example)\n\n<https://auto.example>\n\n`" + evil + "`\n\n# h {onclick=x}\n"
	id := h.repo("ada/evil", true, evil, readme)
	h.image(id, "1", "amd64"+evil, map[string]any{"Labels": map[string]string{evil: evil}, "Env": []string{evil}, "Cmd": []string{evil}, "User": evil, "WorkingDir": evil,
		"ExposedPorts": map[string]any{"80/tcp" + evil: nil}, "Volumes": map[string]any{evil: nil}},
		layerDef{"RUN " + evil + " && \x00\x1b[31m\u202e", []string{evil + "=1", "odd\xff\xfe\n\t\x1b[2J=2", "dir/" + evil + "/x=3", "\u202egpj.exe=4"}, "gzip"})
	h.image(id, "2", "amd64", map[string]any{"Labels": map[string]string{evil: "2"}}, layerDef{"ENV " + evil, []string{evil + "=9"}, ""})
	h.push(id, "art", oci.MediaManifest, oci.Manifest{SchemaVersion: 2, ArtifactType: evil, Config: h.put(id, evil, []byte("{}")),
		Layers: []oci.Descriptor{{MediaType: evil, Digest: h.put(id, "", []byte("a")).Digest, Annotations: map[string]string{"org.opencontainers.image.title": evil}}}})
	h.exec(`INSERT INTO tags (repo, name, digest, updated, by_user) SELECT repo, ?, digest, updated, ? FROM tags WHERE repo = ? AND name = '1'`, "t"+evil, evil, id)
	b := h.browser(t).login("ada")
	if a := b.post("/settings/title", "title", evil); a.status != 303 {
		t.Fatalf("title: %d %s", a.status, a.problem())
	}
	h.exec(`UPDATE sessions SET agent = ?`, evil)
	for _, path := range []string{"/", "/search?q=" + "script", "/search?q=%3Cscript%3Ealert(1)%3C/script%3E", "/u/ada", "/settings", "/r/ada/evil", "/r/ada/evil/-/tags", "/r/ada/evil/-/tags?q=%3Cscript%3E",
		"/r/ada/evil/-/tag/1", "/r/ada/evil/-/tag/1?platform=%3Cscript%3E", "/r/ada/evil/-/tag/1/layer/1", "/r/ada/evil/-/tag/1/layer/1?q=%22%3E%3Cscript%3E&op=%3Cscript%3E", "/r/ada/evil/-/tag/art",
		"/r/ada/evil/-/compare?from=1&to=2", "/r/ada/evil/-/compare?from=%3Cscript%3E&to=%22onclick=", "/r/ada/evil/-/settings", "/%3Cscript%3E", "/login?next=%22%3E%3Cscript%3E"} {
		a := b.get(path)
		if a.status >= 500 {
			t.Errorf("%s: %d", path, a.status)
		}
		low := strings.ToLower(a.body)
		for _, bad := range []string{"<script>", "<img", "javascript:", "data:text", "onerror=alert(2)>", "\x1b", "\u202e", "\x00", "src=\"https:"} {
			// As text it is harmless: what counts is that no tag begins, and that no sign hides.
			if i := strings.Index(low, bad); i >= 0 && !escaped(low, i, bad) {
				t.Errorf("%s has %q: …%s…", path, bad, a.body[max(0, i-100):min(len(a.body), i+100)])
			}
		}
		if a.status == 200 && a.head.Get("Content-Type") == "text/html; charset=utf-8" && path != "/login?next=%22%3E%3Cscript%3E" {
			checkPage(t, path, a)
		}
	}
	page := b.get("/r/ada/evil")
	page.has(t, "README", `<a href="#" rel="nofollow`, `<a href="https://spy.example/p.png" rel="nofollow`, `<a href="https://auto.example" rel="nofollow`, "&lt;script&gt;alert(1)")
	layer := b.get("/r/ada/evil/-/tag/1/layer/1")
	layer.has(t, "layer", `odd\xff\xfe\x0a\x09\x1b[2J`, `\u{202e}gpj.exe`, "&lt;script&gt;")
}

// escaped reports whether what was found stands in text whose tag is no tag: the words
// of an escaped one, or of the field that the settings show.
func escaped(low string, i int, bad string) bool {
	if strings.HasPrefix(bad, "onerror") || bad == "javascript:" || bad == "data:text" {
		before := low[max(0, i-200):i]
		open, shut := strings.LastIndex(before, "<"), strings.LastIndex(before, ">")
		return shut > open // not within a tag
	}
	return false
}

// A manifest may name a blob that its repository has not: nothing of it is shown.
func TestForeignLayers(t *testing.T) {
	h := seed(t)
	var secret oci.Descriptor
	for d, b := range h.blobs.all {
		if strings.Contains(string(b), "plan") && !strings.Contains(string(b), "rootfs") {
			secret = oci.Descriptor{MediaType: oci.MediaLayer, Digest: d, Size: int64(len(b))}
		}
	}
	if secret.Size == 0 {
		t.Fatal("the secret's layer is not there")
	}
	h.browser(t).login("ada").get("/r/team/secret/-/tag/latest").has(t, "the secret", "plan") // so that it is known
	id := h.repo("bob/thief", true, "", "")
	config := h.put(id, oci.MediaConfig, []byte(`{"rootfs":{"type":"layers","diff_ids":["`+string(secret.Digest)+`"]}}`))
	h.push(id, "1", oci.MediaManifest, oci.Manifest{SchemaVersion: 2, Config: config, Layers: []oci.Descriptor{secret}})
	b := h.browser(t).login("bob")
	for _, path := range []string{"/r/bob/thief/-/tag/1", "/r/bob/thief/-/tag/1/layer/1", "/r/bob/thief/-/compare?from=1&to=1"} {
		a := b.get(path)
		if strings.Contains(a.body, "plan") || !strings.Contains(a.body, "does not keep all layers") {
			t.Errorf("%s shows a layer of another repository: %s", path, a.body)
		}
	}
}

// What cannot be read is told, and breaks nothing.
func TestDamagedImages(t *testing.T) {
	h := seed(t)
	id := h.repo("ada/broken", true, "", "")
	put := func(tag, config string, layer string) {
		m := oci.Manifest{SchemaVersion: 2, Config: h.put(id, oci.MediaConfig, []byte(config)), Layers: []oci.Descriptor{h.put(id, oci.MediaLayer, []byte(layer))}}
		h.push(id, tag, oci.MediaManifest, m)
	}
	rootfs := `"rootfs":{"type":"layers","diff_ids":["` + string(oci.FromBytes(nil)) + `"]}`
	put("layer", `{`+rootfs+`}`, "no tar at all, and long enough to be looked at as one"+strings.Repeat("x", 600))
	put("config", `{"history":1`, "")
	put("history", `{`+rootfs+`,"history":[{},{},{},{}]}`, "")
	put("settings", `{`+rootfs+`,"config":{"Env":5}}`, "")
	now := meta.Micros(time.Now())
	for tag, raw := range map[string]string{"json": "{", "both": `{"schemaVersion":2,"config":{},"manifests":[]}`, "empty": `{"schemaVersion":2,"manifests":[]}`} {
		d := oci.FromBytes([]byte(raw))
		h.exec(`INSERT INTO manifests (repo, digest, media_type, size, raw, pushed) VALUES (?, ?, ?, ?, ?, ?)`, id, d, oci.MediaManifest, len(raw), raw, now)
		h.exec(`INSERT INTO tags (repo, name, digest, updated) VALUES (?, ?, ?, ?)`, id, tag, d, now)
	}
	gone := oci.Descriptor{MediaType: oci.MediaManifest, Digest: oci.FromBytes([]byte("gone")), Platform: &oci.Platform{OS: "linux", Architecture: "s390x"}}
	h.push(id, "child", oci.MediaIndex, oci.Index{SchemaVersion: 2, Manifests: []oci.Descriptor{gone}})
	b := h.browser(t)
	for _, tag := range []string{"layer", "config", "history", "settings", "json", "both", "empty", "child"} {
		for _, path := range []string{"/r/ada/broken/-/tag/" + tag, "/r/ada/broken/-/compare?from=layer&to=" + tag} {
			if a := b.get(path); a.status >= 500 {
				t.Errorf("%s: %d", path, a.status)
			}
		}
	}
	if a := b.get("/r/ada/broken/-/tags"); a.status != 200 {
		t.Errorf("tags: %d", a.status)
	}
	b.get("/r/ada/broken/-/tag/layer").has(t, "a damaged layer", "This layer cannot be read")
}
