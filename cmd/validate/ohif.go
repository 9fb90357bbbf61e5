package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// ohifVersion needs OHIF's built pages, a browser, Orthanc and its DICOMweb.
func ohifVersion(v *validation) (string, error) {
	if _, err := npmPackage("puppeteer-core")(v); err != nil {
		return "", err
	}
	for _, program := range []string{"chromium", "Orthanc"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", fmt.Errorf("%s is not installed", program)
		}
	}
	if _, err := os.Stat(dicomWeb); err != nil {
		return "", errors.New("orthanc-dicomweb is not installed")
	}
	b, err := os.ReadFile(filepath.Join(v.cache, "ohif", "package", "package.json"))
	var p struct{ Version string }
	if err != nil || json.Unmarshal(b, &p) != nil {
		return "", errors.New("@ohif/app is not installed: run make validate")
	}
	browser, err := program("chromium", "--version")(v)
	return p.Version + " in Chromium " + browser, err
}

// view is what the browser is to show of a segmentation: the slice with most of
// its voxels, and places that must be coloured, or must not.
type view struct {
	Name    string       `json:"name"`
	Study   string       `json:"study"`
	Series  int          `json:"series"`
	Image   string       `json:"image"`
	Frame   int          `json:"frame"`
	Places  [][3]float64 `json:"places"`
	Picture string       `json:"picture"`

	inside int // so many of the places, the first
}

// ohif stores CT and segmentation in an Orthanc and opens them in OHIF.
func ohif(v *validation, objects []object) []finding {
	a, err := v.openArchive("orthanc-ohif", dicomWeb)
	if err != nil {
		return said(objects, "", err)
	}
	defer a.stop()
	base, stop, err := serveOHIF(filepath.Join(v.cache, "ohif", "package", "dist"), a.web)
	if err != nil {
		return said(objects, "", err)
	}
	defer stop()
	var views []view
	for _, o := range objects {
		images, _ := filepath.Glob(filepath.Join(v.ctOf(o.Case), "*.dcm"))
		if err := a.store(v.ctx, append(images, o.Path)); err != nil {
			return said(objects, "", err)
		}
		w, err := v.viewOf(o)
		if err != nil {
			return said(objects, "", err)
		}
		views = append(views, w)
	}
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		return said(objects, "", err)
	}
	b, err := json.Marshal(views)
	if err != nil {
		return said(objects, "", err)
	}
	list := filepath.Join(v.dir, "views.json")
	if err := os.WriteFile(list, b, 0o666); err != nil {
		return said(objects, "", err)
	}
	text, err := v.output("node", filepath.Join(v.cache, "ohif.mjs"), chromium, base, list)
	var lines strings.Builder
	for line := range strings.Lines(text) {
		var answer struct {
			Name, Error string
			Places      [][2]float64
		}
		if json.Unmarshal([]byte(line), &answer) != nil {
			continue
		}
		i := slices.IndexFunc(views, func(w view) bool { return w.Name == answer.Name })
		if i < 0 {
			continue
		}
		say := answer.Error
		if say == "" {
			say = views[i].judge(answer.Places)
		}
		if chest := strings.Contains(views[i].Picture, slug("phantom chest")); chest && say == "ok" && v.update {
			if err := views[i].keep(); err != nil {
				say = err.Error()
			}
		}
		fmt.Fprintf(&lines, "%s\t%s\n", answer.Name, say)
	}
	return said(objects, lines.String()+text, err)
}

// viewOf chooses slice and places.
func (v *validation) viewOf(o object) (view, error) {
	w := view{Name: o.Path, Picture: strings.TrimSuffix(o.Path, ".dcm") + ".png"}
	b, err := os.ReadFile(strings.TrimSuffix(o.Path, ".dcm") + ".json")
	if err != nil {
		return w, err
	}
	var truth struct {
		Study, Series string
		SeriesNumber  int `json:"series_number"`
		Affine        [4][3]float64
		Slices        []struct {
			Image string `json:"sop_instance_uid"`
			Frame int    `json:"frame"`
		}
		Nodules []struct{ Voxels [][4]int }
	}
	if err := json.Unmarshal(b, &truth); err != nil {
		return w, err
	}
	count := make([]int, len(truth.Slices))
	in := map[[3]int]bool{}
	for _, n := range truth.Nodules {
		for _, p := range n.Voxels {
			count[p[2]]++
			in[[3]int(p[:3])] = true
		}
	}
	z := slices.Index(count, slices.Max(count))
	w.Study, w.Series, w.Image, w.Frame = truth.Study, truth.SeriesNumber, truth.Slices[z].Image, truth.Slices[z].Frame
	lps := func(p [3]int) (out [3]float64) {
		for a := range out {
			out[a] = truth.Affine[0][a] + float64(p[0])*truth.Affine[1][a] + float64(p[1])*truth.Affine[2][a] + float64(p[2])*truth.Affine[3][a]
		}
		return out
	}
	// Outside is what is three voxels away and has no nodule within two.
	outside := map[[3]int]bool{}
	for p := range in {
		if p[2] != z {
			continue
		}
		w.Places = append(w.Places, lps(p))
		for _, d := range [][2]int{{3, 0}, {-3, 0}, {0, 3}, {0, -3}} {
			outside[[3]int{p[0] + d[0], p[1] + d[1], z}] = true
		}
	}
	w.inside = len(w.Places)
	for p := range outside {
		near := false
		for dy := -2; dy <= 2; dy++ {
			for dx := -2; dx <= 2; dx++ {
				near = near || in[[3]int{p[0] + dx, p[1] + dy, z}]
			}
		}
		if !near {
			w.Places = append(w.Places, lps(p))
		}
	}
	return w, nil
}

// judge looks whether the picture is coloured where the nodules are, and grey
// around them: the CT has no colour.
func (w view) judge(places [][2]float64) string {
	f, err := os.Open(w.Picture)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	picture, err := png.Decode(f)
	if err != nil {
		return err.Error()
	}
	if len(places) != len(w.Places) || w.inside == len(places) {
		return fmt.Sprintf("%d places for %d, of which %d inside", len(places), len(w.Places), w.inside)
	}
	var right, stained int
	for i, p := range places {
		coloured := saturation(picture.At(int(p[0]), int(p[1]))) > 24
		switch {
		case i < w.inside && coloured:
			right++
		case i >= w.inside && coloured:
			stained++
		}
	}
	outside := len(places) - w.inside
	if 100*right < 95*w.inside || 100*stained > 2*outside {
		return fmt.Sprintf("%d of %d voxels of nodules are coloured, and %d of %d around them", right, w.inside, stained, outside)
	}
	return "ok"
}

func saturation(c color.Color) int {
	r, g, b, _ := c.RGBA()
	return int(max(r, g, b)>>8) - int(min(r, g, b)>>8)
}

// keep makes the picture that of the README.
func (w view) keep() error {
	b, err := os.ReadFile(w.Picture)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join("docs", "viewer.png"), b, 0o666)
}

// ohifConfig is OHIF's app-config.js: the archive as its only source.
const ohifConfig = `window.config = {
  routerBasename: null, extensions: [], modes: [], customizationService: {}, showStudyList: true, maxNumberOfWebWorkers: 2,
  disableConfirmationPrompts: true, showWarningMessageForCrossOrigin: false, showCPUFallbackMessage: false,
  investigationalUseDialog: { option: 'never' }, defaultDataSourceName: 'orthanc',
  dataSources: [{ namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'orthanc', configuration: {
    friendlyName: 'Orthanc', name: 'orthanc', qidoSupportsIncludeField: false, imageRendering: 'wadors', thumbnailRendering: 'wadors',
    enableStudyLazyLoad: true, supportsFuzzyMatching: false, supportsWildcard: true, singlepart: 'bulkdata,video',
    bulkDataURI: { enabled: true, relativeResolution: 'studies' }, omitQuotationForMultipartRequest: true,
    wadoUriRoot: location.origin + '/dicom-web', qidoRoot: location.origin + '/dicom-web', wadoRoot: location.origin + '/dicom-web',
  } }],
};
`

// serveOHIF serves OHIF's pages, and Orthanc's DICOMweb at the same address.
func serveOHIF(dist, orthanc string) (base string, stop func(), err error) {
	archive, err := url.Parse(orthanc)
	if err != nil {
		return "", nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(archive)
		r.Out.Host = r.In.Host // Orthanc writes its links with it
	}}
	files := http.FileServer(http.Dir(dist))
	mux := http.NewServeMux()
	mux.Handle("/dicom-web/", proxy)
	mux.HandleFunc("/app-config.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = io.WriteString(w, ohifConfig)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		// Paths that are no file are OHIF's own routes.
		if info, err := os.Stat(filepath.Join(dist, filepath.FromSlash(filepath.Clean(r.URL.Path)))); err != nil || info.IsDir() {
			r.URL.Path = "/"
		}
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		w.Header().Set("Cross-Origin-Embedder-Policy", "require-corp")
		files.ServeHTTP(w, r)
	})
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(listener) }()
	return "http://" + listener.Addr().String(), func() { _ = server.Close() }, nil
}
