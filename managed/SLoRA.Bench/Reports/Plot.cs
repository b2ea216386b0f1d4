// One plot as inline SVG with an HTML legend: lines, bars or stacked areas over a common x. Colours are the page's variables,
// so light and dark need no second picture. Labels cannot meet: y labels have a column of their own, x labels are thinned
// until they fit, and the legend is no part of the picture.
using System.Globalization;
using System.Net;
using System.Text;

namespace SLoRA.Bench.Reports;

internal enum PlotKind
{
    Lines,
    Bars,
    StackedAreas,
}

/// A NaN leaves a gap.
internal sealed record PlotSeries(string Name, IReadOnlyList<double> Values, bool IsDashed = false);

internal sealed record Plot(string Title, PlotKind Kind, string XTitle, string YTitle, IReadOnlyList<string> XLabels, IReadOnlyList<PlotSeries> Series)
{
    private const double Width = 560;
    private const double Height = 300;
    private const double Left = 62;
    private const double Right = 18;
    private const double Top = 14;
    private const double Bottom = 46;

    // Of the 11 px font: half the height of a capital, and the widest digit with a little air.
    private const double LabelDrop = 4;
    private const double LabelWidth = 7;
    private const int NumColours = 6;

    /// Numbers instead of categories: x then goes in proportion. null: equally far apart.
    public IReadOnlyList<double>? XValues { get; init; }

    /// A top that the y axis has at least, such as 1 for shares.
    public double SmallestTop { get; init; }

    private static double InnerWidth => Width - Left - Right;

    private static double InnerHeight => Height - Top - Bottom;

    /// A figure with title, legend and picture; nothing if there is no value.
    public string ToHtml()
    {
        if (!Series.Any(series => series.Values.Any(double.IsFinite)))
        {
            return string.Empty;
        }

        var axis = Axis.For(Math.Max(SmallestTop, LargestY()));
        var html = new StringBuilder();
        html.Append($"<figure class=\"plot\">\n<figcaption>{Text(Title)}</figcaption>\n");
        AppendLegend(html);
        html.Append(CultureInfo.InvariantCulture, $"<svg viewBox=\"0 0 {Width} {Height}\" role=\"img\" aria-label=\"{Text(Title)}\">\n");
        AppendYAxis(html, axis);
        AppendXAxis(html);
        switch (Kind)
        {
            case PlotKind.Bars:
                AppendBars(html, axis);
                break;
            case PlotKind.StackedAreas:
                AppendAreas(html, axis);
                break;
            default:
                AppendLines(html, axis);
                break;
        }

        html.Append("</svg>\n</figure>\n");
        return html.ToString();
    }

    private static string Text(string text) => WebUtility.HtmlEncode(text);

    private static string Number(double value) => value.ToString("0.##", CultureInfo.InvariantCulture);

    private static string Colour(int series) => $"var(--series-{series % NumColours + 1})";

    private double LargestY() => Kind == PlotKind.StackedAreas
        ? Enumerable.Range(0, XLabels.Count).Max(i => Series.Sum(series => double.IsFinite(series.Values[i]) ? series.Values[i] : 0))
        : Series.SelectMany(series => series.Values).Where(double.IsFinite).Max();

    private static double Y(double value, Axis axis) => Top + InnerHeight * (1 - value / axis.End);

    private double X(int i)
    {
        if (XValues is { Count: > 1 } values && values.Max() > 0)
        {
            return Left + InnerWidth * values[i] / values.Max();
        }

        return Left + InnerWidth * (i + 0.5) / XLabels.Count;
    }

    private void AppendLegend(StringBuilder html)
    {
        html.Append("<ul class=\"legend\">");
        for (var i = 0; i < Series.Count; i++)
        {
            var style = Series[i].IsDashed ? $"border-top:2px dashed {Colour(i)}" : $"background:{Colour(i)}";
            html.Append($"<li><span class=\"swatch{(Series[i].IsDashed ? " dashed" : string.Empty)}\" style=\"{style}\"></span>{Text(Series[i].Name)}</li>");
        }

        html.Append("</ul>\n");
    }

    private void AppendYAxis(StringBuilder html, Axis axis)
    {
        foreach (var tick in axis.Ticks)
        {
            var y = Number(Y(tick, axis));
            html.Append($"<line class=\"grid\" x1=\"{Number(Left)}\" x2=\"{Number(Width - Right)}\" y1=\"{y}\" y2=\"{y}\"/>");
            html.Append($"<text class=\"tick\" x=\"{Number(Left - 8)}\" y=\"{Number(Y(tick, axis) + LabelDrop)}\" text-anchor=\"end\">{Axis.Format(tick)}</text>\n");
        }

        var middle = Number(Top + InnerHeight / 2);
        html.Append($"<text class=\"title\" x=\"13\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 13 {middle})\">{Text(YTitle)}</text>\n");
    }

    private void AppendXAxis(StringBuilder html)
    {
        var y = Number(Height - Bottom + 18);
        var free = double.NegativeInfinity;
        for (var i = 0; i < XLabels.Count; i++)
        {
            var half = Math.Max(1, XLabels[i].Length) * LabelWidth / 2;
            var x = Math.Clamp(X(i), half, Width - half);
            if (x - half < free)
            {
                continue;
            }

            free = x + half + LabelWidth;
            html.Append($"<text class=\"tick\" x=\"{Number(x)}\" y=\"{y}\" text-anchor=\"middle\">{Text(XLabels[i])}</text>\n");
        }

        html.Append($"<text class=\"title\" x=\"{Number(Left + InnerWidth / 2)}\" y=\"{Number(Height - 8)}\" text-anchor=\"middle\">{Text(XTitle)}</text>\n");
    }

    private void AppendLines(StringBuilder html, Axis axis)
    {
        for (var s = 0; s < Series.Count; s++)
        {
            var values = Series[s].Values;
            var points = Enumerable.Range(0, values.Count).Where(i => double.IsFinite(values[i])).Select(i => (X: X(i), Y: Y(values[i], axis), Value: values[i], Index: i)).ToArray();
            var path = string.Join(' ', points.Select(point => $"{Number(point.X)},{Number(point.Y)}"));
            html.Append($"<polyline class=\"mark{(Series[s].IsDashed ? " dashed" : string.Empty)}\" points=\"{path}\" stroke=\"{Colour(s)}\"/>\n");
            foreach (var point in points.Length <= 40 ? points : [])
            {
                html.Append($"<circle class=\"mark\" cx=\"{Number(point.X)}\" cy=\"{Number(point.Y)}\" r=\"3\" fill=\"{Colour(s)}\"><title>{Tooltip(s, point.Index)}</title></circle>");
            }
        }
    }

    private string Tooltip(int series, int index) => Text($"{Series[series].Name}, {XLabels[index]}: {Axis.Format(Series[series].Values[index])}");

    private void AppendBars(StringBuilder html, Axis axis)
    {
        var slot = InnerWidth / XLabels.Count;
        var bar = Math.Min(48, slot * 0.8 / Series.Count);
        for (var i = 0; i < XLabels.Count; i++)
        {
            for (var s = 0; s < Series.Count; s++)
            {
                if (double.IsFinite(Series[s].Values[i]))
                {
                    var x = Left + slot * (i + 0.5) + bar * (s - Series.Count / 2.0);
                    var y = Y(Series[s].Values[i], axis);
                    html.Append($"<rect class=\"mark\" x=\"{Number(x)}\" y=\"{Number(y)}\" width=\"{Number(bar * 0.92)}\" height=\"{Number(Top + InnerHeight - y)}\" fill=\"{Colour(s)}\"><title>{Tooltip(s, i)}</title></rect>");
                }
            }
        }
    }

    private void AppendAreas(StringBuilder html, Axis axis)
    {
        var below = new double[XLabels.Count];
        for (var s = 0; s < Series.Count; s++)
        {
            var above = below.Zip(Series[s].Values, (low, value) => low + (double.IsFinite(value) ? value : 0)).ToArray();
            var up = Enumerable.Range(0, above.Length).Select(i => $"{Number(X(i))},{Number(Y(above[i], axis))}");
            var down = Enumerable.Range(0, below.Length).Reverse().Select(i => $"{Number(X(i))},{Number(Y(below[i], axis))}");
            html.Append($"<polygon class=\"mark\" points=\"{string.Join(' ', up.Concat(down))}\" fill=\"{Colour(s)}\"/>\n");
            below = above;
        }
    }
}
