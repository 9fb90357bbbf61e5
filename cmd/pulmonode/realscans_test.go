package main_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/admin"
)

// Two whole scans, interleaved on two associations of an unmodified DCMTK
// storescu, come out as two result sets in DCMTK's storescp and in Orthanc.
func TestRealScansThroughDCMTKAndOrthanc(t *testing.T) {
	if testing.Short() {
		t.Skip("two whole scans take minutes; TestKill... are the fast brothers")
	}
	needRuntime(t)
	storescu := needProgram(t, "storescu")
	first, second := scan(t, "LIDC-IDRI-0001"), scan(t, "LIDC-IDRI-0002")
	archive := startStorescp(t)
	orthanc := startOrthanc(t)
	s := newServer(t, "",
		destination{"archive", "ARCHIVE", archive.port}, destination{"orthanc", "ORTHANC", orthanc.dicom})

	// The CT itself is in Orthanc, so that the results must find its study.
	orthanc.upload(t, dicomFiles(t, first))

	var wg sync.WaitGroup
	for _, dir := range []string{first, second} {
		wg.Go(func() {
			out, err := exec.Command(storescu, "-aec", "PULMONODE", "+sd", "+r", "+sp", "*.dcm", "127.0.0.1", strconv.Itoa(s.dicom), dir).CombinedOutput()
			if err != nil {
				t.Errorf("storescu: %v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	all := s.ends(2, 8*time.Minute)
	if len(all) != 2 {
		t.Fatalf("%d series, want 2", len(all))
	}
	for _, one := range all {
		if one.State != admin.Delivered {
			t.Errorf("%s is %s: %s", one.Series, one.State, one.Sentence)
		}
		t.Logf("%s: %s", one.Series, one.Sentence)
	}

	got := archive.documents(t)
	for class, want := range map[string]int{dataset.SegmentationStorage: 1, dataset.Comprehensive3DSR: 2} {
		if n := len(got[class]); n < want {
			t.Errorf("storescp holds %d of %s, want at least %d", n, class, want)
		}
	}
	c := consensus(t)
	var seg *dataset.File
	for _, f := range got[dataset.SegmentationStorage] {
		if strings.Contains(f.Header.Items(dataset.ReferencedSeriesSequence)[0].Text(dataset.SeriesInstanceUID), c.Series) {
			seg = f
		}
	}
	if seg == nil {
		t.Fatal("no SEG of LIDC-IDRI-0001 arrived: its nodule was not found")
	}
	dice, segment := c.bestDice(t, seg)
	t.Logf("LIDC-IDRI-0001: Dice %.3f of segment %d with the readers' 50 %% consensus", dice, segment)
	if dice < 0.6 {
		t.Errorf("Dice %.3f of the nodule of LIDC-IDRI-0001, want at least 0.6", dice)
	}
	reportOnScan(t, s, first, all)
	reportOnScan(t, s, second, all)

	modalities := orthanc.modalities(t, studyOf(t, first))
	for _, m := range []string{"CT", "SEG", "SR", "OT"} {
		if modalities[m] == 0 {
			t.Errorf("Orthanc shows no %s in the study of the CT: %v", m, modalities)
		}
	}
	t.Logf("Orthanc shows in the study of LIDC-IDRI-0001, series by modality: %v", modalities)
}

// reportOnScan logs hits and false positives of one scan against its truth.
func reportOnScan(t *testing.T, s *server, dir string, all []admin.Series) {
	t.Helper()
	data := os.Getenv("PULMONODE_DATA")
	if data == "" {
		data = filepath.Join("..", "..", "..", "shared", "data")
	}
	text, err := os.ReadFile(filepath.Join(data, "scans", filepath.Base(dir)+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var truth []struct {
		Center   result.Point `json:"center_lps_mm"`
		Diameter float64      `json:"diameter_mm"`
	}
	if err := json.Unmarshal(text, &truth); err != nil {
		t.Fatal(err)
	}
	study := studyOf(t, dir)
	for _, one := range all {
		if one.Study != study {
			continue
		}
		text, err := os.ReadFile(filepath.Join(s.dir, "data", "series", one.Study, one.Series, "generation-1", "result.json"))
		if err != nil {
			t.Fatal(err)
		}
		var r result.Result
		if err := json.Unmarshal(text, &r); err != nil {
			t.Fatal(err)
		}
		hits, falsePositives := 0, 0
		for _, n := range r.Nodules {
			hit := false
			for _, v := range truth {
				d := math.Sqrt(sq(n.CenterLPS[0]-v.Center[0]) + sq(n.CenterLPS[1]-v.Center[1]) + sq(n.CenterLPS[2]-v.Center[2]))
				hit = hit || d <= math.Max(5, v.Diameter/2)
			}
			if hit {
				hits++
			} else {
				falsePositives++
			}
		}
		t.Logf("%s: %d of %d outlined nodules found, %d findings elsewhere; %v", filepath.Base(dir), hits, len(truth), falsePositives, r.TimingsS)
	}
}

func sq(v float64) float64 { return v * v }

func studyOf(t *testing.T, dir string) string {
	t.Helper()
	f, err := dataset.Open(dicomFiles(t, dir)[0], dataset.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return f.Header.Text(dataset.StudyInstanceUID)
}

// readersConsensus is the truth of LIDC-IDRI-0001 on the CT's grid.
type readersConsensus struct {
	Series string  `json:"series"`
	Z0     float64 `json:"z0_mm"`
	DZ     float64 `json:"dz_mm"`
	X0     int     `json:"x0"`
	Y0     int     `json:"y0"`
	Shape  [3]int  `json:"shape_zyx"`
	Bits   string  `json:"bits"`
	mask   []byte
}

func consensus(t *testing.T) *readersConsensus {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "testdata", "lidc", "consensus-0001.json"))
	if err != nil {
		t.Fatal(err)
	}
	c := new(readersConsensus)
	if err := json.Unmarshal(text, c); err != nil {
		t.Fatal(err)
	}
	if c.mask, err = base64.StdEncoding.DecodeString(c.Bits); err != nil {
		t.Fatal(err)
	}
	return c
}

// at reports whether the consensus holds column x, row y of the slice at z mm.
func (c *readersConsensus) at(x, y int, z float64) bool {
	k := int(math.Round((z - c.Z0) / c.DZ))
	x, y = x-c.X0, y-c.Y0
	if k < 0 || k >= c.Shape[0] || y < 0 || y >= c.Shape[1] || x < 0 || x >= c.Shape[2] {
		return false
	}
	i := (k*c.Shape[1]+y)*c.Shape[2] + x
	return c.mask[i/8]>>(i%8)&1 == 1
}

// bestDice decodes the SEG's packed frames (PS3.3 C.8.20) and returns the best
// Dice of a segment with the consensus.
func (c *readersConsensus) bestDice(t *testing.T, seg *dataset.File) (best float64, segment int) {
	t.Helper()
	data, err := os.ReadFile(seg.Path)
	if err != nil {
		t.Fatal(err)
	}
	bits := data[seg.Pixel.Offset:]
	rows, _ := seg.Header.Int(dataset.Rows)
	columns, _ := seg.Header.Int(dataset.Columns)
	total := 0
	for _, b := range c.mask {
		for ; b != 0; b &= b - 1 {
			total++
		}
	}
	volume, both := map[int]int{}, map[int]int{}
	for n, frame := range seg.Header.Items(dataset.PerFrameFunctionalGroupsSequence) {
		number, _ := frame.Items(dataset.SegmentIdentificationSequence)[0].Int(dataset.ReferencedSegmentNumber)
		position, err := frame.Items(dataset.PlanePositionSequence)[0].Floats(dataset.ImagePositionPatient)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rows * columns {
			if bit := n*rows*columns + i; bits[bit/8]>>(bit%8)&1 == 1 {
				volume[number]++
				if c.at(i%columns, i/columns, position[2]) {
					both[number]++
				}
			}
		}
	}
	for number, v := range volume {
		if d := 2 * float64(both[number]) / float64(v+total); d > best {
			best, segment = d, number
		}
	}
	return best, segment
}

// dcmtkArchive is DCMTK's storescp.
type dcmtkArchive struct {
	port int
	dir  string
}

func startStorescp(t *testing.T) *dcmtkArchive {
	t.Helper()
	program := needProgram(t, "storescp")
	a := &dcmtkArchive{port: freePort(t), dir: t.TempDir()}
	startProgram(t, exec.Command(program, "-aet", "ARCHIVE", "-od", a.dir, "-uf", strconv.Itoa(a.port)))
	return a
}

// documents are what it holds, by SOP class.
func (a *dcmtkArchive) documents(t *testing.T) map[string][]*dataset.File {
	t.Helper()
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]*dataset.File{}
	for _, e := range entries {
		f, err := dataset.Open(filepath.Join(a.dir, e.Name()), dataset.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		class := f.Header.Text(dataset.SOPClassUID)
		all[class] = append(all[class], f)
	}
	return all
}

type orthancServer struct{ dicom, http int }

func startOrthanc(t *testing.T) *orthancServer {
	t.Helper()
	program := needProgram(t, "Orthanc")
	o := &orthancServer{dicom: freePort(t), http: freePort(t)}
	dir := t.TempDir()
	configuration := filepath.Join(dir, "orthanc.json")
	text := fmt.Sprintf(`{"Name": "test", "StorageDirectory": %q, "IndexDirectory": %q, "DicomAet": "ORTHANC", "DicomPort": %d,
 "HttpPort": %d, "RemoteAccessAllowed": false, "AuthenticationEnabled": false, "DicomAlwaysAllowStore": true, "Plugins": []}`,
		filepath.Join(dir, "db"), filepath.Join(dir, "db"), o.dicom, o.http)
	if err := os.WriteFile(configuration, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	startProgram(t, exec.Command(program, configuration))
	eventually(t, time.Minute, "Orthanc answers", func() bool {
		r, err := http.Get(o.url("/system"))
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	return o
}

func startProgram(t *testing.T, c *exec.Cmd) {
	t.Helper()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
}

func (o *orthancServer) url(path string) string {
	return fmt.Sprintf("http://127.0.0.1:%d%s", o.http, path)
}

func (o *orthancServer) upload(t *testing.T, files []string) {
	t.Helper()
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.Post(o.url("/instances"), "application/dicom", f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
		if r.StatusCode != http.StatusOK {
			t.Fatalf("Orthanc answers %s to %s", r.Status, path)
		}
	}
}

// modalities counts the series of a study by modality, as Orthanc's REST shows them.
func (o *orthancServer) modalities(t *testing.T, study string) map[string]int {
	t.Helper()
	query := fmt.Sprintf(`{"Level": "Series", "Expand": true, "Query": {"StudyInstanceUID": %q}}`, study)
	r, err := http.Post(o.url("/tools/find"), "application/json", strings.NewReader(query))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	var series []struct {
		MainDicomTags struct{ Modality string }
	}
	if err := json.NewDecoder(r.Body).Decode(&series); err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, s := range series {
		n[s.MainDicomTags.Modality]++
	}
	return n
}

// A scanner-like sender opens an association for each slice.
func TestOneAssociationPerSlice(t *testing.T) {
	needRuntime(t)
	storescu := needProgram(t, "storescu")
	p := newPACS(t)
	s := newServer(t, "", destination{"pacs", "PACS", p.port})
	for _, path := range dicomFiles(t, phantom(t)) {
		if out, err := exec.Command(storescu, "-aec", "PULMONODE", "127.0.0.1", strconv.Itoa(s.dicom), path).CombinedOutput(); err != nil {
			t.Fatalf("storescu: %v\n%s", err, out)
		}
	}
	if all := s.ends(1, analysed); all[0].State != admin.Delivered {
		t.Errorf("the series is %s: %s", all[0].State, all[0].Sentence)
	}
	p.check(t, 1)
}
