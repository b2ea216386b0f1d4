// The report in a browser, in both colour schemes and on a narrow screen: plots are there, nothing is cut off or hidden,
// text can be read. The pictures are left in out/report.
using SLoRA.Bench.Reports;

namespace SLoRA.Bench.Tests;

public class ReportPictureTests
{
    private static readonly (string Damage, string Problem)[] s_damages =
    [
        ("document.documentElement.style.setProperty('--text', '#b0b0b0')", "text has too little contrast"),
        ("document.documentElement.style.setProperty('--series-2', '#f0f0a0')", "a mark has too little contrast"),
        ("document.documentElement.style.setProperty('--series-2', '#1f6feb')", "two series have one colour"),
        ("document.querySelector('svg').querySelectorAll('.mark').forEach(e => e.setAttribute('visibility', 'hidden') || e.remove())", "is empty"),
        ("document.querySelector('svg text.tick').setAttribute('x', '-40')", "is cut off"),
        ("document.querySelectorAll('svg text.tick')[1].setAttribute('y', document.querySelectorAll('svg text.tick')[0].getAttribute('y'))", " meets "),
        ("document.querySelector('table').parentElement.className = ''", "wide in 1280"),
        ("document.querySelector('.plots').remove()", "only 0 plots"),
    ];

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

        // The check itself must see what is wrong.
        foreach (var (damage, problem) in s_damages)
        {
            await browser.OpenAsync(page, 1280, 900, isDark: false);
            await browser.EvaluateAsync(damage + "; ''");
            Assert.Contains(problem, await browser.EvaluateAsync(check), StringComparison.Ordinal);
        }

        Assert.Equal(["rgb(255, 255, 255)", "rgb(13, 17, 23)", "rgb(255, 255, 255)"], backgrounds);
    }
}
