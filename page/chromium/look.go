package chromium

import "fmt"

// lookScript looks at a page as people with little sight, or with no mouse, meet it. It
// gives a list of what is wrong.
const lookScript = `(() => {
  const wrong = [];
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) {
    const wide = [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, .copy, .tabs, .readme pre, .readme table, .hidden, .skip"))
      .map(e => e.tagName + "." + e.className).slice(0, 4);
    wrong.push("it scrolls sideways: " + root.scrollWidth + " of " + innerWidth + " " + wide);
  }
  const channel = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => .2126 * channel(c[0]) + .7152 * channel(c[1]) + .0722 * channel(c[2]);
  const colour = s => { const m = s.match(/[\d.]+/g); return m ? m.map(Number) : [0, 0, 0, 0]; };
  const behind = e => { for (; e; e = e.parentElement) { const c = colour(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const seen = new Set();
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.closest(".hidden, .skip, [aria-hidden=true]")) continue;
    const style = getComputedStyle(e), a = light(colour(style.color)), b = light(behind(e));
    let ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    const size = parseFloat(style.fontSize), least = size >= 24 || size >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5;
    const name = e.tagName + "." + e.className;
    if (ratio < least && !seen.has(name)) { seen.add(name); wrong.push("contrast of " + name + " is " + ratio.toFixed(2) + ": " + e.textContent.trim().slice(0, 30)); }
  }
  for (const e of document.querySelectorAll("a, button, summary")) {
    const r = e.getBoundingClientRect();
    if (e.checkVisibility() && !e.closest(".skip") && r.height > 0 && r.height < 16) wrong.push("too small to hit: " + e.outerHTML.slice(0, 80));
  }
  return wrong;
})()`

// Look checks the page that is open, in both colours, narrow and wide, and keeps pictures. It
// has one each of the landmarks banner, main and contentinfo, and those named besides.
func (c *Browser) Look(name string, status int, landmarks ...string) {
	c.t.Helper()
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int{400, 1200} {
			c.See(width, scheme)
			what := fmt.Sprintf("%s-%d-%s", name, width, scheme)
			var wrong []string
			c.Eval(lookScript, &wrong)
			for _, w := range wrong {
				c.t.Errorf("%s: %s", what, w)
			}
			c.Shot(what)
		}
	}
	// What a screen reader says of whatever can be used.
	var tree struct {
		Nodes []struct {
			Ignored    bool
			Role, Name struct{ Value any }
		}
	}
	c.Call("Accessibility.getFullAXTree", nil, &tree)
	marks := map[string]int{}
	for _, n := range tree.Nodes {
		role := fmt.Sprint(n.Role.Value)
		marks[role]++
		switch role {
		case "link", "button", "textbox", "searchbox", "combobox", "radio", "checkbox", "navigation", "region", "meter":
			if !n.Ignored && (n.Name.Value == nil || n.Name.Value == "") {
				c.t.Errorf("%s: a %s without a name", name, role)
			}
		}
	}
	for _, role := range []string{"banner", "main", "contentinfo"} {
		if marks[role] != 1 {
			c.t.Errorf("%s: %d landmarks %s", name, marks[role], role)
		}
	}
	for _, role := range landmarks {
		if marks[role] == 0 {
			c.t.Errorf("%s: no landmark %s", name, role)
		}
	}
	c.Quiet(name, status)
}
