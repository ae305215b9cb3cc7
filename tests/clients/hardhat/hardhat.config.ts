// Hardhat 3 against a node that runs already. Contracts are compiled beforehand.
import hardhatEthers from '@nomicfoundation/hardhat-ethers';

export default {
  plugins: [hardhatEthers],
  paths: { sources: './no-contracts' },
  networks: {
    lockweave: {
      type: 'http',
      chainType: 'l1',
      url: process.env.RPC_URL,
      accounts: {
        mnemonic: 'test test test test test test test test test test test junk',
        initialIndex: 7,
        count: 2,
      },
    },
  },
};
