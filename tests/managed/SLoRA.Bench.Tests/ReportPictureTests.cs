// The report in a browser, in both colour schemes and on a narrow screen: plots are there, nothing is cut off or hidden,
// text can be read. The pictures are left in out/report.
using SLoRA.Bench.Reports;

namespace SLoRA.Bench.Tests;

public class ReportPictureTests
{
    [Fact]
    public async Task A_report_is_legible_in_light_and_dark_and_on_a_narrow_screen()
    {
        var program = Browser.Find();
        Assert.SkipUnless(program is not null, "no Chromium is installed (apt-get install chromium)");
        var folder = Path.Combine(Repository.Root, "out", "report");
        Directory.CreateDirectory(folder);
        var page = Path.Combine(folder, "report.html");
        HtmlReport.Write(Samples.Table(), page);
        var check = await File.ReadAllTextAsync(Path.Combine(AppContext.BaseDirectory, "check_report.js"));

        await using var browser = await Browser.StartAsync(program);
        var backgrounds = new List<string>();
        foreach (var (name, width, isDark) in new[] { ("light", 1280, false), ("dark", 1280, true), ("narrow", 420, false) })
        {
            await browser.OpenAsync(page, width, 900, isDark);
            await browser.TakePictureAsync(Path.Combine(folder, $"report-{name}.png"));
            backgrounds.Add(await browser.EvaluateAsync("getComputedStyle(document.body).backgroundColor"));
            Assert.Equal(string.Empty, await browser.EvaluateAsync(check));
            Assert.InRange(new FileInfo(Path.Combine(folder, $"report-{name}.png")).Length, 20_000, 20_000_000);
        }

        Assert.Equal(["rgb(255, 255, 255)", "rgb(13, 17, 23)", "rgb(255, 255, 255)"], backgrounds);
    }
}
