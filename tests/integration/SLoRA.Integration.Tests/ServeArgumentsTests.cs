// slora serve's own options: what is given wins over configuration, what is not leaves it alone.
using System.CommandLine;
using SLoRA.Cli.Commands;

namespace SLoRA.Integration.Tests;

public class ServeArgumentsTests
{
    private static SLoRAOptions Fill(SLoRAOptions options, params string[] arguments)
    {
        var own = new ServeArguments();
        var command = new Command("serve");
        own.AddTo(command);
        var parsed = command.Parse(arguments);
        Assert.Empty(parsed.Errors);
        own.Fill(parsed, options);
        return options;
    }

    [Fact]
    public void What_is_given_fills_the_options()
    {
        var options = new SLoRAOptions();
        options.Adapters.Directories.Add("somewhere");
        Fill(options, "--watch", "--watch-seconds", "0.5", "--load-on-use", "--resolve-directory", AppContext.BaseDirectory, "--host-adapter-bytes", "1000000", "--eviction", "lru");
        Assert.Equal((true, 0.5, AdapterLoading.OnUse, AppContext.BaseDirectory), (options.Adapters.Watch, options.Adapters.WatchSeconds, options.Adapters.Loading, options.Adapters.ResolveDirectory));
        Assert.Equal((1_000_000, AdapterEviction.Lru), (options.Memory.HostAdapterBytes, options.Memory.Eviction));
    }

    [Fact]
    public void What_is_not_given_stays_as_configured()
    {
        var options = new SLoRAOptions
        {
            Adapters = new AdapterOptions { Watch = true, WatchSeconds = 7, Loading = AdapterLoading.OnUse, ResolveDirectory = "store" },
            Memory = new MemoryOptions { HostAdapterBytes = 5, Eviction = AdapterEviction.Lru },
        };
        Fill(options);
        Assert.Equal((true, 7.0, AdapterLoading.OnUse, "store"), (options.Adapters.Watch, options.Adapters.WatchSeconds, options.Adapters.Loading, options.Adapters.ResolveDirectory));
        Assert.Equal((5, AdapterEviction.Lru), (options.Memory.HostAdapterBytes, options.Memory.Eviction));
    }

    [Fact]
    public void A_folder_that_is_not_there_and_a_watch_of_nothing_are_refused()
    {
        Assert.Equal("--resolve-directory is '/not/there', which is not a folder", Assert.Throws<DirectoryNotFoundException>(() => Fill(new SLoRAOptions(), "--resolve-directory", "/not/there")).Message);
        Assert.Equal("--watch is given without --adapters; a folder to watch is needed", Assert.Throws<ArgumentException>(() => Fill(new SLoRAOptions(), "--watch")).Message);
        Assert.Equal("Memory.HostAdapterBytes is -1; it must be at least 0", Fill(new SLoRAOptions { Model = { Path = "x" } }, "--host-adapter-bytes", "-1").Validate().Single());
        Assert.Equal("Adapters.WatchSeconds is 0.01; it must be in [0.05, 86400]", Fill(new SLoRAOptions { Model = { Path = "x" } }, "--watch-seconds", "0.01").Validate().Single());
    }
}
