package admin

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdpnetwork "github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	logs "github.com/chromedp/cdproto/log"
)

// patience is how long a browser on a busy machine may take for anything.
const patience = 2 * time.Minute

// browser starts a Chromium without a window, or skips the test.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("no chromium is installed: make browser-test installs Debian's")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.Flag("hide-scrollbars", true), chromedp.Flag("lang", "en"), chromedp.Env("TZ=Europe/Berlin"))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it refuses to run as root with one
	}
	allocator, end := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		chromedp.Cancel(ctx)
		cancel()
		end()
	})
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("starting chromium: %v", err)
	}
	return ctx
}

// tab is one page in a browser. What it complains of and whom it asks is noted.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu     sync.Mutex
	asked  []string
	errors []string
}

// open opens an address in a tab of its own, with cookies of its own. When the
// test ends, nothing may have gone to another address than those that begin
// with own, and the console must be empty but for what expected names.
func open(t *testing.T, browser context.Context, own, address string, expected []string, before ...chromedp.Action[chromedp.Void]) *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	ctx, cancel := context.WithTimeout(ctx, patience)
	tb := &tab{t: t, ctx: ctx}
	t.Cleanup(func() {
		chromedp.Cancel(ctx)
		cancel()
		end()
		tb.mu.Lock()
		defer tb.mu.Unlock()
		for _, a := range tb.asked {
			if !strings.HasPrefix(a, own) && !strings.HasPrefix(a, "data:") && a != "about:blank" {
				t.Errorf("the page asked %s", a)
			}
		}
	errors:
		for _, e := range tb.errors {
			for _, ok := range expected {
				if strings.Contains(e, ok) {
					continue errors
				}
			}
			t.Errorf("the console says: %s", e)
		}
	})
	tb.do(chromedp.EmulateViewport(1280, 900))
	err := chromedp.Listen(ctx, func(ev any) {
		tb.mu.Lock()
		defer tb.mu.Unlock()
		switch ev := ev.(type) {
		case *cdpnetwork.EventRequestWillBeSent:
			tb.asked = append(tb.asked, ev.Request.URL)
		case *runtime.EventExceptionThrown:
			tb.errors = append(tb.errors, ev.ExceptionDetails.Text)
		case *runtime.EventConsoleAPICalled:
			tb.errors = append(tb.errors, fmt.Sprint(ev.Type))
		case *logs.EventEntryAdded:
			tb.errors = append(tb.errors, ev.Entry.Text+" "+ev.Entry.URL)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	tb.do(before...)
	tb.do(chromedp.Navigate(address))
	return tb
}

func (tb *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	if err := chromedp.Do(tb.ctx, steps...); err != nil {
		tb.t.Fatal(err)
	}
}

func (tb *tab) press(keys string, options ...chromedp.KeyOption) {
	tb.t.Helper()
	tb.do(chromedp.KeyEvent(keys, options...))
}

// eval is what a JavaScript expression is in the page.
func eval[T any](tb *tab, expression string) T {
	tb.t.Helper()
	v, err := chromedp.Run(tb.ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		tb.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// becomes waits until an expression is true in the page.
func (tb *tab) becomes(expression string) {
	tb.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		// A page that is being left has no answer.
		if v, err := chromedp.Run(tb.ctx, chromedp.Evaluate[bool](expression)); err == nil && v {
			return
		}
		select {
		case <-tick.C:
		case <-tb.ctx.Done():
			tb.t.Fatalf("it did not come about that %s", expression)
		}
	}
}

// text waits until the page's text holds each of the words.
func (tb *tab) text(words ...string) {
	tb.t.Helper()
	for _, w := range words {
		tb.becomes(fmt.Sprintf("document.body.innerText.includes(%q)", w))
	}
}

// focus presses Tab until an element has the focus.
func (tb *tab) focus(id string) {
	tb.t.Helper()
	for range 100 {
		tb.press(kb.Tab)
		if eval[string](tb, "document.activeElement.id") == id {
			if !eval[bool](tb, `(s => s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2)(getComputedStyle(document.activeElement))`) {
				tb.t.Errorf("#%s has the focus and does not show it", id)
			}
			return
		}
	}
	tb.t.Fatalf("Tab does not lead to #%s", id)
}

func scheme(name string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: name}, {Name: "prefers-reduced-motion", Value: "reduce"}}})
		return err
	})
}

var withoutScript = chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
	_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	return err
})

const rowsShown = `document.querySelectorAll("table.list tbody tr").length`

func TestBrowser(t *testing.T) {
	b := browser(t)

	t.Run("list, search, filter", func(t *testing.T) {
		w := newWard(t)
		w.fill()
		tb := open(t, b, w.url, w.url, nil)
		tb.text("Not for clinical use", "analyses wait", "CPU", "1 to 9 of 9 series", "ask for the thin reconstruction")
		for _, s := range States {
			if !eval[bool](tb, fmt.Sprintf(`[...document.querySelectorAll("td .state")].some(e => e.textContent === %q)`, s)) && s != Analysing && s != Deleted {
				t.Errorf("no row is %s", s)
			}
		}
		tb.do(chromedp.SendKeys(chromedp.ID("search"), "A26110002\r"))
		tb.becomes(rowsShown + " === 1")
		tb.text("for “A26110002”")
		tb.do(chromedp.Click(chromedp.CSS("table.list tbody a")))
		tb.becomes(fmt.Sprintf("location.href === %q", w.page(done)))
		tb.do(chromedp.Navigate(w.url), chromedp.Click(chromedp.CSS(".states a.skipped")))
		tb.becomes(rowsShown + " === 1")
		if got := eval[string](tb, `document.querySelector('[aria-current="page"]').textContent`); !strings.HasPrefix(got, "skipped") {
			t.Errorf("the filter is %q", got)
		}
		if eval[bool](tb, `document.body.innerText.includes("Phantom")`) {
			t.Error("a patient is named")
		}
	})

	t.Run("series", func(t *testing.T) {
		w := newWard(t)
		w.fill()
		tb := open(t, b, w.url, w.page(done), nil)
		tb.text("3 nodules were found", "70 %", "indeterminate", "22.1 × 17.2", "First instance", "Delivered to pacs", "localize", "9.8 s")
		tb.becomes(`[...document.images].filter(i => i.alt && i.naturalWidth === 371).length >= 1`)
		if got := eval[string](tb, `document.querySelector(".pictures img").alt`); !strings.Contains(got, "nodule N1") {
			t.Errorf("the first picture is %q", got)
		}
		tb.do(chromedp.Click(chromedp.ID("zone"))) // times where the reader is
		tb.text("GMT+1")
		tb.do(chromedp.Click(chromedp.ID("zone")))
		tb.becomes(`!document.querySelector("main").innerText.includes("GMT+1")`)
	})

	t.Run("try again, by keyboard", func(t *testing.T) {
		w := newWard(t)
		w.fill()
		tb := open(t, b, w.url, w.page(refused), nil)
		tb.press(kb.Tab)
		if got := eval[string](tb, "document.activeElement.className"); got != "skip" {
			t.Errorf("the first stop is %q", got)
		}
		tb.focus("retry")
		tb.press(kb.Enter)
		tb.text("It is tried again.")
		if s := w.job(refused, "pacs"); s != "queued" {
			t.Errorf("the delivery is %s", s)
		}
	})

	t.Run("cancel, with a question", func(t *testing.T) {
		w := newWard(t)
		w.fill()
		tb := open(t, b, w.url, w.page(sending), nil)
		tb.focus("cancel-1-pacs")
		tb.press(kb.Enter)
		tb.text("Cancel the work on this series?", "of the delivery to pacs ends")
		if s := w.job(sending, "pacs"); s != "queued" {
			t.Errorf("before the answer the delivery is %s", s)
		}
		tb.do(chromedp.Click(chromedp.CSS("a.button"))) // no
		tb.becomes(fmt.Sprintf("location.href === %q", w.page(sending)))
		tb.do(chromedp.Click(chromedp.ID("cancel-1-pacs")))
		tb.text("Cancel the work on this series?")
		tb.focus("confirm")
		tb.press(kb.Enter)
		tb.text("It is cancelled.", "was cancelled by a person")
		if s, other := w.job(sending, "pacs"), w.job(sending, "ris"); s != "cancelled" || other != "queued" {
			t.Errorf("the deliveries are %s and %s", s, other)
		}
	})

	t.Run("deliver again, with a question", func(t *testing.T) {
		w := newWard(t)
		w.fill()
		tb := open(t, b, w.url, w.page(done), nil)
		tb.do(chromedp.Click(chromedp.ID("deliver-1-ris")))
		tb.text("Deliver again?", "to ris")
		tb.do(chromedp.Click(chromedp.ID("confirm")))
		tb.text("It is sent again.")
		if eval[bool](tb, `document.getElementById("retry") !== null`) {
			t.Error("there is something to try again")
		}
		if to := <-w.again; to != "ris" {
			t.Errorf("sent to %q", to)
		}
	})

	t.Run("it goes on by itself", func(t *testing.T) {
		w := newWard(t)
		w.fill()
		tb := open(t, b, w.url, w.url, nil, chromedp.EmulateViewport(1280, 400))
		tb.text("9 of 9 series")
		row := fmt.Sprintf("row-%s-%s", sending.Study, sending.Series)
		tb.do(chromedp.SendKeys(chromedp.ID("search"), "half a w"))
		eval[bool](tb, `(window.stays = true, scrollTo(0, 210), true)`)
		w.deliverAll(sending)
		tb.becomes(fmt.Sprintf(`document.getElementById(%q).dataset.state === "delivered"`, row))
		if !eval[bool](tb, "window.stays === true") {
			t.Error("the page was loaded anew")
		}
		if got := eval[string](tb, `document.activeElement.id + " " + document.activeElement.value`); got != "search half a w" {
			t.Errorf("what was being typed: %q", got)
		}
		if y := eval[float64](tb, "scrollY"); y < 200 || y > 220 {
			t.Errorf("scrolled to %v", y)
		}
		if said := eval[string](tb, `document.getElementById("said").textContent`); !strings.Contains(said, "is now delivered") {
			t.Errorf("a screen reader hears %q", said)
		}
		// A link keeps the focus while its row moves to the top.
		eval[bool](tb, fmt.Sprintf(`(document.getElementById("row-%s-%s").querySelector("a").focus(), true)`, refused.Study, refused.Series))
		w.slice(refused, 3, Patient{})
		tb.becomes(fmt.Sprintf(`document.querySelector("table.list tbody tr").id === "row-%s-%s"`, refused.Study, refused.Series))
		if got := eval[string](tb, `document.activeElement.closest("tr")?.id ?? document.activeElement.nodeName`); got != fmt.Sprintf("row-%s-%s", refused.Study, refused.Series) {
			t.Errorf("the focus went to %s", got)
		}
	})

	t.Run("pausing, and a node that is away", func(t *testing.T) {
		w := newWard(t)
		w.fill()
		var away sync.Map
		proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if _, yes := away.Load("away"); yes {
				http.Error(rw, "away", http.StatusBadGateway)
				return
			}
			w.ServeHTTP(rw, r)
		}))
		defer proxy.Close()
		tb := open(t, b, proxy.URL, proxy.URL+seriesAddress(sending), []string{"502"})
		away.Store("away", true)
		tb.text("Not up to date (the node answers 502)")
		away.Delete("away")
		tb.becomes(`!document.body.innerText.includes("Not up to date")`)
		tb.do(chromedp.Click(chromedp.ID("pause")))
		tb.text("Resume updates")
		w.deliverAll(sending)
		tb.do(chromedp.Click(chromedp.ID("pause")))
		tb.becomes(`document.getElementById("title").dataset.state === "delivered"`)
	})

	t.Run("without script", func(t *testing.T) {
		w := newWard(t)
		w.fill()
		tb := open(t, b, w.url, w.url, nil, withoutScript)
		tb.text("1 to 9 of 9 series", "Refresh")
		tb.do(chromedp.SendKeys(chromedp.ID("search"), sending.Series+"\r"))
		tb.becomes(rowsShown + " === 1")
		tb.do(chromedp.Click(chromedp.CSS("table.list tbody a")))
		tb.text("Timeline")
		tb.do(chromedp.Click(chromedp.ID("cancel")))
		tb.text("Cancel the work on this series?")
		tb.do(chromedp.Click(chromedp.ID("confirm")))
		tb.text("It is cancelled.")
		tb.do(chromedp.Click(chromedp.ID("retry")))
		tb.text("It is tried again.")
		if s := w.job(sending, "ris"); s != "queued" {
			t.Errorf("the delivery is %s", s)
		}
	})

	t.Run("light and dark", func(t *testing.T) {
		w := newWard(t)
		w.fill()
		background := map[string]string{}
		for _, name := range []string{"light", "dark"} {
			tb := open(t, b, w.url, w.url, nil, scheme(name))
			background[name] = eval[string](tb, "getComputedStyle(document.body).backgroundColor")
		}
		if background["light"] == background["dark"] {
			t.Errorf("both are %s", background["light"])
		}
	})

	t.Run("narrow", func(t *testing.T) {
		w := newWard(t)
		w.fill()
		for _, address := range []string{w.url, w.page(done), w.page(sending) + "/confirm?do=cancel", w.url + "/?state=lost"} {
			tb := open(t, b, w.url, address, []string{"400"}, chromedp.EmulateViewport(390, 844))
			if wide := eval[float64](tb, "document.documentElement.scrollWidth"); wide > 390 {
				t.Errorf("%s is %v wide", address, wide)
			}
		}
	})

	t.Run("accessible", func(t *testing.T) {
		axe := axeCore(t)
		w := newWard(t)
		w.ready = append(w.ready, Check{Name: "models", Sentence: "localize.onnx is missing: put it back"})
		w.fill()
		narrow := []string{w.url, w.page(done), w.page(refused)}
		wide := append(narrow, w.url+"/?state=failed", w.url+"/?search=none", w.page(broken), w.page(done)+"/confirm?do=deliver", w.url+"/?state=lost")
		for _, look := range []string{"light", "dark"} {
			for width, addresses := range map[int64][]string{1280: wide, 390: narrow} {
				for _, address := range addresses {
					t.Run(fmt.Sprintf("%s, %d wide, %s", look, width, strings.TrimPrefix(address, w.url)), func(t *testing.T) {
						tb := open(t, b, w.url, address, []string{"400"}, scheme(look), chromedp.EmulateViewport(width, 900))
						tb.do(chromedp.Evaluate[chromedp.Void](axe))
						found, err := chromedp.Run(tb.ctx, chromedp.Evaluate[[]string](`axe.run(document, {resultTypes: ["violations"]}).then(r =>
							r.violations.flatMap(v => v.nodes.map(n => v.impact + " " + v.id + ": " + n.html.slice(0, 200) + " " + n.failureSummary)))`, chromedp.EvalAwaitPromise))
						if err != nil {
							t.Fatal(err)
						}
						for _, v := range found {
							t.Error(v)
						}
					})
				}
			}
		}
	})

	t.Run("another site cannot press buttons", func(t *testing.T) {
		w := newWard(t)
		w.fill()
		evil := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "text/html")
			fmt.Fprintf(rw, `<form method="post" action="%s/cancel"><button id="go">win</button></form><iframe src="%s"></iframe>`, w.page(sending), w.url)
		}))
		defer evil.Close()
		for _, from := range []string{evil.URL, strings.Replace(evil.URL, "127.0.0.1", "localhost", 1)} {
			tb := open(t, b, "http://", from, []string{"403", "frame-ancestors", "favicon"})
			if n := eval[int](tb, "document.querySelector('iframe').contentDocument ? 1 : 0"); n != 0 {
				t.Error("the page can be shown within another")
			}
			tb.do(chromedp.Click(chromedp.ID("go")))
			tb.text("another web site")
			if s := w.job(sending, "pacs"); s != "queued" {
				t.Errorf("from %s: the delivery is %s", from, s)
			}
		}
	})
}

// axeCore is the script that finds what people with disabilities stumble over.
func axeCore(t *testing.T) string {
	t.Helper()
	path := os.Getenv("PULMONODE_AXE")
	if path == "" {
		path = filepath.Join("..", "..", ".cache", "axe-core", "axe.min.js")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Skip("no axe-core here: make browser-test fetches it")
	}
	return string(b)
}
