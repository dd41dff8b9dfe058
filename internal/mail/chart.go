package mail

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"strconv"
	"time"
)

// MaxChartPoints is how many points a chart has, MaxCharts how many charts an e-mail.
const (
	MaxChartPoints = 120
	MaxCharts      = 3
)

// Chart is a small picture of how a value went.
type Chart struct {
	// Name is the event's.
	Name string    `json:"name"`
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Points are in the order of their time.
	Points []ChartPoint `json:"points"`
	// Threshold is a line across; nil for none.
	Threshold *float64 `json:"threshold,omitempty"`
	// Silence says that the readings stopped, which the caption then says too.
	Silence bool `json:"silence,omitempty"`
}

// ChartPoint is a value at a time.
type ChartPoint struct {
	// At is in milliseconds after From.
	At    int64   `json:"t"`
	Value float64 `json:"v"`
}

// The picture is drawn at twice the size that it is shown in, on no ground: so it fits light and dark e-mails. Several charts stand one
// below the other, each a little lower than one alone.
const (
	chartWidth, chartHeight = 1040, 280
	chartHeightOfMany       = 200
	chartMargin             = 14
	chartStroke             = 5
)

// The colours of the picture, by their place in its palette.
const (
	chartGround = iota
	chartGrid
	chartLine
	chartLimit
)

var chartPalette = color.Palette{ // never written to
	chartGround: color.NRGBA{}, chartGrid: color.NRGBA{0x8a, 0x91, 0x9e, 0x60}, chartLine: color.NRGBA{0xd9, 0x73, 0x0d, 0xff},
	chartLimit: color.NRGBA{0xd6, 0x45, 0x32, 0xff},
}

// bounds returns the lowest and the highest value.
func (c Chart) bounds() (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, p := range c.Points {
		low, high = min(low, p.Value), max(high, p.Value)
	}
	return low, high
}

// caption says in words what the picture shows.
func (c Chart) caption() string {
	low, high := c.bounds()
	number := func(n float64) string { return strconv.FormatFloat(n, 'g', 6, 64) }
	from := c.From.UTC().Format("15:04")
	if c.To.Sub(c.From) >= 24*time.Hour {
		from = when(c.From)
	}
	text := fmt.Sprintf("%s from %s to %s: lowest %s, highest %s", Name(c.Name), from, when(c.To), number(low), number(high))
	if n := len(c.Points); c.Silence && n > 0 {
		text += "; the last reading is of " + when(c.From.Add(time.Duration(c.Points[n-1].At)*time.Millisecond))
	}
	if c.Threshold != nil {
		text += "; the dashed line is the threshold of " + number(*c.Threshold)
	}
	return text + "."
}

// picture returns charts as one PNG.
func picture(charts []Chart) ([]byte, error) {
	height := chartHeight
	if len(charts) > 1 {
		height = chartHeightOfMany
	}
	img := image.NewPaletted(image.Rect(0, 0, chartWidth, height*len(charts)), chartPalette)
	for i, c := range charts {
		c.draw(img, i*height, height)
	}
	var out bytes.Buffer
	err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, img)
	return out.Bytes(), err
}

// draw draws the chart from a row of a picture on.
func (c Chart) draw(img *image.Paletted, top, height int) {
	low, high := c.bounds()
	if c.Threshold != nil {
		low, high = min(low, *c.Threshold), max(high, *c.Threshold)
	}
	if high <= low { // one value all the time
		low, high = low-1, high+1
	}
	inner := float64(height - 2*chartMargin)
	// Halves, as the difference of two finite numbers need not be one.
	row := func(v float64) int { return top + chartMargin + int(math.Round(inner*(high/2-v/2)/(high/2-low/2))) }
	span := max(1, c.To.Sub(c.From).Milliseconds())
	column := func(at int64) int {
		return chartMargin + int((chartWidth-2*chartMargin)*min(max(0, at), span)/span)
	}
	for i := range 5 {
		y := top + chartMargin + i*(height-2*chartMargin)/4
		fill(img, image.Rect(chartMargin, y, chartWidth-chartMargin, y+1), chartGrid)
	}
	for i, p := range c.Points {
		x, y := column(p.At), row(p.Value)
		if i == 0 {
			dot(img, x, y)
			continue
		}
		before := c.Points[i-1]
		stroke(img, column(before.At), row(before.Value), x, y)
	}
	if c.Threshold != nil {
		y := row(*c.Threshold)
		for x := chartMargin; x < chartWidth-chartMargin; x += 24 {
			fill(img, image.Rect(x, y-1, min(x+14, chartWidth-chartMargin), y+2), chartLimit)
		}
	}
	if n := len(c.Points); n > 0 {
		last := c.Points[n-1]
		fill(img, square(column(last.At), row(last.Value), 2*chartStroke), chartLine)
	}
}

// stroke draws a line.
func stroke(img *image.Paletted, x0, y0, x1, y1 int) {
	steps := max(abs(x1-x0), abs(y1-y0), 1)
	for i := range steps + 1 {
		dot(img, x0+(x1-x0)*i/steps, y0+(y1-y0)*i/steps)
	}
}

func dot(img *image.Paletted, x, y int) { fill(img, square(x, y, chartStroke), chartLine) }

// square returns a square around a point.
func square(x, y, size int) image.Rectangle {
	return image.Rect(x-size/2, y-size/2, x-size/2+size, y-size/2+size)
}

func fill(img *image.Paletted, r image.Rectangle, index uint8) {
	r = r.Intersect(img.Rect)
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			img.SetColorIndex(x, y, index)
		}
	}
}

func abs(n int) int { return max(n, -n) }
