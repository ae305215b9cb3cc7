>> {"id":1,"jsonrpc":"2.0","method":"eth_getBlockTransactionCountByHash","params":["0xc674a881f86e76a93296711d51abdc5a9a1ccd4e26fc68bd7e2a48d05e600693"]}
<< {"id":1,"jsonrpc":"2.0","result":"0x3"}
